// The native half of io.github.qsparse.QSparseDelegate.
#include <jni.h>

#include <cstdint>
#include <string>
#include <vector>

#include "embed/qsparse_delegate.h"

namespace {

// The callback that reports an error has no argument for the caller's data.
thread_local std::string last_error;

void KeepError(const char* message) { last_error = message; }

// False if Java has an exception pending.
bool ReadStrings(JNIEnv* env, jobjectArray array, std::vector<std::string>* strings) {
  const jsize size = env->GetArrayLength(array);
  for (jsize i = 0; i < size; ++i) {
    auto element = static_cast<jstring>(env->GetObjectArrayElement(array, i));
    if (element == nullptr) return false;
    const char* text = env->GetStringUTFChars(element, nullptr);
    if (text == nullptr) return false;
    strings->emplace_back(text);
    env->ReleaseStringUTFChars(element, text);
    env->DeleteLocalRef(element);
  }
  return true;
}

std::vector<const char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<const char*> pointers;
  for (const std::string& string : strings) pointers.push_back(string.c_str());
  return pointers;
}

}  // namespace

// The arrays are as long as each other and hold no null: the Java class fills them.
extern "C" JNIEXPORT jlong JNICALL
Java_io_github_qsparse_QSparseDelegate_create(JNIEnv* env, jclass /*type*/,
                                              jobjectArray keys, jobjectArray values) {
  std::vector<std::string> key_texts, value_texts;
  if (!ReadStrings(env, keys, &key_texts)) return 0;
  if (!ReadStrings(env, values, &value_texts)) return 0;
  TfLiteDelegate* delegate =
      QSparseDelegateCreate(Pointers(key_texts).data(), Pointers(value_texts).data(),
                            key_texts.size(), &KeepError);
  if (delegate == nullptr) {
    env->ThrowNew(env->FindClass("java/lang/IllegalArgumentException"),
                  last_error.c_str());
  }
  return static_cast<jlong>(reinterpret_cast<intptr_t>(delegate));
}

extern "C" JNIEXPORT void JNICALL Java_io_github_qsparse_QSparseDelegate_destroy(
    JNIEnv* /*env*/, jclass /*type*/, jlong handle) {
  QSparseDelegateDelete(
      reinterpret_cast<TfLiteDelegate*>(static_cast<intptr_t>(handle)));
}
