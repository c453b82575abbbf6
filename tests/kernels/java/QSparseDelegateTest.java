import io.github.qsparse.QSparseDelegate;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.tensorflow.lite.Delegate;

/** Makes delegates in a Java virtual machine; needs no runtime and no test library. */
public final class QSparseDelegateTest {
  private interface Body {
    void run() throws Exception;
  }

  private static int passed = 0;
  private static int failed = 0;

  private static void test(String name, Body body) {
    try {
      body.run();
      ++passed;
    } catch (Throwable error) {
      ++failed;
      System.out.println(name + ": " + error);
    }
  }

  private static void check(boolean condition, String message) {
    if (!condition) {
      throw new AssertionError(message);
    }
  }

  private static <T extends Throwable> String messageOf(Class<T> type, Body body) {
    try {
      body.run();
    } catch (Throwable error) {
      check(type.isInstance(error), "not a " + type.getSimpleName() + ": " + error);
      return error.getMessage();
    }
    throw new AssertionError("no " + type.getSimpleName());
  }

  private static String refusal(String key, String value) {
    return messageOf(
        IllegalArgumentException.class,
        () -> new QSparseDelegate(Collections.singletonMap(key, value)).close());
  }

  public static void main(String[] arguments) {
    test(
        "options give a handle",
        () -> {
          Map<String, String> options = new LinkedHashMap<>();
          options.put("threads", "2");
          options.put("min_gain", "1.25");
          try (QSparseDelegate delegate = new QSparseDelegate(options)) {
            check(delegate.getNativeHandle() != 0, "null handle");
          }
        });
    test(
        "two delegates are two",
        () -> {
          try (QSparseDelegate one = new QSparseDelegate();
              QSparseDelegate other = new QSparseDelegate()) {
            check(one.getNativeHandle() != other.getNativeHandle(), "one handle");
          }
        });
    test(
        "the runtime's interface closes it, once or twice",
        () -> {
          Delegate delegate = new QSparseDelegate();
          delegate.close();
          delegate.close();
          messageOf(IllegalStateException.class, delegate::getNativeHandle);
        });
    test(
        "an unknown option is named",
        () -> check(refusal("speed", "11").contains("unknown option 'speed'"), "message"));
    test(
        "a bad value is named",
        () ->
            check(
                refusal("threads", "two").contains("bad value 'two' for option 'threads'"),
                "message"));
    test(
        "null is refused before it reaches native code",
        () ->
            messageOf(
                NullPointerException.class,
                () -> new QSparseDelegate(Collections.singletonMap("threads", null))));
    test("every thread gets its own message", QSparseDelegateTest::refuseInThreads);
    System.out.println(passed + " passed, " + failed + " failed");
    System.exit(failed == 0 ? 0 : 1);
  }

  private static void refuseInThreads() throws InterruptedException {
    int count = 8;
    CountDownLatch done = new CountDownLatch(count);
    AtomicInteger right = new AtomicInteger();
    for (int i = 0; i < count; ++i) {
      String key = "option" + i;
      new Thread(
              () -> {
                boolean all = true;
                for (int round = 0; round < 200; ++round) {
                  all &= refusal(key, "1").contains("'" + key + "'");
                }
                right.addAndGet(all ? 1 : 0);
                done.countDown();
              })
          .start();
    }
    done.await();
    check(right.get() == count, (count - right.get()) + " threads saw another's message");
  }
}
