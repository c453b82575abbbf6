# What an application links or packs in place of the plugin: a static library with a
# C header, and the library of the Java class. Built on request only.
option(QSPARSE_JNI "Add the library of the Java class" "${ANDROID}")

get_target_property(sources qsparse_delegate SOURCES)
get_target_property(options qsparse_delegate COMPILE_OPTIONS)

add_library(qsparse_delegate_static STATIC EXCLUDE_FROM_ALL
  ${sources} embed/qsparse_delegate.cc)
set_target_properties(qsparse_delegate_static PROPERTIES
  OUTPUT_NAME qsparse_delegate
  COMPILE_OPTIONS "${options}"
  POSITION_INDEPENDENT_CODE ON)
target_include_directories(qsparse_delegate_static
  PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}"
  INTERFACE "${CMAKE_CURRENT_SOURCE_DIR}/embed")
target_link_libraries(qsparse_delegate_static PUBLIC Threads::Threads)

if(QSPARSE_JNI)
  set(exports "${CMAKE_CURRENT_SOURCE_DIR}/embed/android/exports.map")
  add_library(qsparse_jni SHARED EXCLUDE_FROM_ALL embed/android/qsparse_jni.cc)
  set_target_properties(qsparse_jni PROPERTIES
    COMPILE_OPTIONS "${options}"
    LINK_DEPENDS "${exports}")
  target_include_directories(qsparse_jni PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
  target_link_libraries(qsparse_jni PRIVATE qsparse_delegate_static)
  target_link_options(qsparse_jni PRIVATE "LINKER:--version-script=${exports}")
  if(NOT ANDROID)
    target_include_directories(qsparse_jni PRIVATE
      "${JAVA_HOME}/include" "${JAVA_HOME}/include/linux")
  endif()
endif()

if(ANDROID)
  # Android 15 devices may have pages of 16 KB; older NDKs align to 4 KB.
  foreach(target qsparse_delegate qsparse_jni)
    target_link_options(${target} PRIVATE "LINKER:-z,max-page-size=16384")
  endforeach()
endif()
