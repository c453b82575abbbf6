# Chooses the clang of the ziglang wheel unless the caller names a compiler,
# through CXX, CMAKE_CXX_COMPILER or a toolchain file, or it is for iOS.
set(QSPARSE_USES_ZIG OFF)
if(QSPARSE_SANITIZE OR DEFINED CMAKE_TOOLCHAIN_FILE OR
   CMAKE_SYSTEM_NAME STREQUAL "iOS" OR
   (DEFINED CMAKE_CXX_COMPILER AND NOT "${CMAKE_CXX_COMPILER}" MATCHES "zig"))
  return()
endif()

set(python "python3")
foreach(candidate Python_EXECUTABLE Python3_EXECUTABLE PYTHON_EXECUTABLE)
  if(DEFINED ${candidate})
    set(python "${${candidate}}")
    break()
  endif()
endforeach()

# scikit-build-core sets CXX to the compiler Python was built with: that is
# nobody's choice.
if(DEFINED ENV{CXX})
  execute_process(
    COMMAND "${python}" -c
      "import sysconfig; print(sysconfig.get_config_var('CXX').split()[0])"
    OUTPUT_VARIABLE python_cxx OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT DEFINED SKBUILD OR NOT "$ENV{CXX}" STREQUAL "${python_cxx}")
    return()
  endif()
endif()

execute_process(
  COMMAND "${python}" -c
    "import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))"
  OUTPUT_VARIABLE zig OUTPUT_STRIP_TRAILING_WHITESPACE
  RESULT_VARIABLE failed ERROR_QUIET)
if(failed)
  message(STATUS "ziglang not found by ${python}; using the system C++ compiler")
  return()
endif()

# An explicit baseline: left alone, zig compiles for the machine it runs on.
if(DEFINED CMAKE_SYSTEM_PROCESSOR)  # the caller cross-compiles
  set(machine "${CMAKE_SYSTEM_PROCESSOR}")
else()
  cmake_host_system_information(RESULT machine QUERY OS_PLATFORM)
endif()
if(machine MATCHES "^(x86_64|AMD64)$")
  set(CMAKE_CXX_COMPILER_TARGET "x86_64-linux-gnu.2.17")
elseif(machine MATCHES "^(aarch64|arm64)$")
  set(CMAKE_CXX_COMPILER_TARGET "aarch64-linux-gnu.2.17")
else()
  message(STATUS "no zig target for ${machine}; using the system C++ compiler")
  return()
endif()

set(QSPARSE_USES_ZIG ON)
set(CMAKE_CXX_COMPILER "${zig};c++")
