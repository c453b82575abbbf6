package org.tensorflow.lite;

import java.io.Closeable;

/** What the runtime's own interface of this name asks of a delegate. */
public interface Delegate extends Closeable {
  long getNativeHandle();

  @Override
  default void close() {}
}
