/* Uses the delegate as a C program that links it does. */
#include <stdio.h>
#include <string.h>

#include "qsparse_delegate.h"

static char message[256];

static void keep_message(const char* text) {
  snprintf(message, sizeof(message), "%s", text);
}

int main(void) {
  const char* key = "threads";
  const char* good = "2";
  const char* bad = "two";
  struct TfLiteDelegate* delegate;

  QSparseDelegateDelete(NULL);
  delegate = QSparseDelegateCreate(NULL, NULL, 0, NULL);
  if (delegate == NULL) return 1;
  QSparseDelegateDelete(delegate);
  delegate = QSparseDelegateCreate(&key, &good, 1, keep_message);
  if (delegate == NULL || message[0] != '\0') return 2;
  QSparseDelegateDelete(delegate);
  if (QSparseDelegateCreate(&key, &bad, 1, NULL) != NULL) return 3;
  if (QSparseDelegateCreate(&key, &bad, 1, keep_message) != NULL) return 4;
  if (strstr(message, "bad value 'two' for option 'threads'") == NULL) return 5;
  puts("ok");
  return 0;
}
