# Stands in for the toolchain file of the NDK: zig for arm64 and another libc, enough
# to try the preset, the exports and the alignment, not to make what a phone can load.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG ZIG_TARGET JNI_INCLUDE)
set(ANDROID TRUE)
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER "${ZIG};c++")
set(CMAKE_CXX_COMPILER_TARGET "${ZIG_TARGET}")
set(CMAKE_CXX_ARCHIVE_CREATE "\"${ZIG}\" ar rcs <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "")
# The NDK's system headers include jni.h.
set(CMAKE_CXX_FLAGS_INIT "-isystem ${JNI_INCLUDE} -isystem ${JNI_INCLUDE}/linux")
