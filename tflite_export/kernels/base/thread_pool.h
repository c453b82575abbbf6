// A persistent pool: tasks are handed out by a counter, the caller works too.
//
// Every thread begins with a range of tasks of its own and then takes what others
// left: the same part of consecutive tensors stays in the cache of the same core.
//
// The caller never waits for a worker that has not started: on a busy machine it
// does all tasks itself, and the worker finds nothing left when it wakes up.
#ifndef QSPARSE_BASE_THREAD_POOL_H_
#define QSPARSE_BASE_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace qsparse {

class ThreadPool {
 public:
  explicit ThreadPool(int32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int32_t threads() const { return static_cast<int32_t>(next_.size()); }

  // Calls body(task, thread) for every task in [0, tasks) and returns when all
  // are done. Callers from several threads take turns.
  template <typename Body>
  void Run(int32_t tasks, const Body& body) {
    if (workers_.empty() || tasks <= 1) {
      for (int32_t i = 0; i < tasks; ++i) body(i, 0);
      return;
    }
    RunOnAll(tasks, &Invoke<Body>, &body);
  }

 private:
  using Function = void (*)(const void* body, int32_t task, int32_t thread);

  template <typename Body>
  static void Invoke(const void* body, int32_t task, int32_t thread) {
    (*static_cast<const Body*>(body))(task, thread);
  }

  void RunOnAll(int32_t tasks, Function function, const void* body);
  bool DoOneTask(int32_t thread);
  int32_t TakeTask(int32_t thread);
  int32_t FirstTask(int32_t thread) const;
  void WorkerLoop(int32_t thread);
  bool HasTask() const;

  std::vector<std::thread> workers_;
  std::mutex callers_;

  // The job. A thread owns a task of job j once it has moved `ticket_` from
  // (j, t) to (j, t + 1), which one it takes is another matter; until it is done the job cannot be replaced, so
  // what was read of the job before the move was consistent.
  std::atomic<uint64_t> ticket_{0};  // job number << 32 | next task
  std::atomic<int32_t> tasks_{0};
  std::atomic<Function> function_{nullptr};
  std::atomic<const void*> body_{nullptr};
  std::atomic<int32_t> done_{0};

  // The next task of each thread's range; may run past its end.
  struct alignas(64) Next {
    std::atomic<int32_t> task{0};
  };
  std::vector<Next> next_;

  std::atomic<bool> stop_{false};
  std::atomic<int32_t> sleeping_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace qsparse

#endif  // QSPARSE_BASE_THREAD_POOL_H_
