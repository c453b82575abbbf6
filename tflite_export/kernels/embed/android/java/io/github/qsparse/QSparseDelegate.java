package io.github.qsparse;

import java.util.Collections;
import java.util.Map;
import org.tensorflow.lite.Delegate;

/**
 * Runs the sparse int8 layers of a model with qsparse's kernels.
 *
 * <p>Close it after the interpreters that use it: they call into it to the end.
 */
public final class QSparseDelegate implements Delegate, AutoCloseable {
  static {
    System.loadLibrary("qsparse_jni");
  }

  private long handle;

  /** A delegate that chooses everything itself. */
  public QSparseDelegate() {
    this(Collections.emptyMap());
  }

  /**
   * A delegate with options, such as {@code threads} or {@code min_gain}.
   *
   * @throws IllegalArgumentException for an option that does not exist or a value that
   *     is out of range; the message names it
   * @throws NullPointerException for a key or value that is null
   */
  public QSparseDelegate(Map<String, String> options) {
    String[] keys = new String[options.size()];
    String[] values = new String[options.size()];
    int i = 0;
    for (Map.Entry<String, String> option : options.entrySet()) {
      if (option.getKey() == null || option.getValue() == null) {
        throw new NullPointerException("an option or its value is null");
      }
      keys[i] = option.getKey();
      values[i] = option.getValue();
      ++i;
    }
    handle = create(keys, values);
  }

  /** The address of the TfLiteDelegate, which the interpreter asks for. */
  @Override
  public synchronized long getNativeHandle() {
    if (handle == 0) {
      throw new IllegalStateException("the delegate is closed");
    }
    return handle;
  }

  /** Frees the delegate; closing it again does nothing. */
  @Override
  public synchronized void close() {
    long closing = handle;
    handle = 0;
    destroy(closing);
  }

  private static native long create(String[] keys, String[] values);

  private static native void destroy(long handle);
}
