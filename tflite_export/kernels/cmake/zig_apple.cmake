# Toolchain: compiles for Apple's systems with zig, which needs no SDK. Shows that the
# static library compiles where there is no Mac; releases are built with Xcode.
#
#   -DCMAKE_TOOLCHAIN_FILE=... -DZIG=path/to/zig -DZIG_TARGET=aarch64-ios.13.0
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG ZIG_TARGET)
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR arm64)
set(CMAKE_CXX_COMPILER "${ZIG};c++")
set(CMAKE_CXX_COMPILER_TARGET "${ZIG_TARGET}")
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_CXX_ARCHIVE_CREATE "\"${ZIG}\" ar rcs <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "")
# zig finds its copy of the system headers, common to all systems, for macOS only.
get_filename_component(zig_root "${ZIG}" DIRECTORY)
set(CMAKE_CXX_FLAGS_INIT "-isystem ${zig_root}/lib/libc/include/any-darwin-any")
