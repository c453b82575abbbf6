#include "base/thread_pool.h"

namespace qsparse {
namespace {

// Long enough to bridge the gap between two layers, short enough not to steal
// the core from XNNPACK's pool. In pauses of some ten nanoseconds each.
constexpr int kSpins = 2000;
constexpr int kSpinsPerYield = 100;

void Pause(int spin) {
  if (spin % kSpinsPerYield == kSpinsPerYield - 1) {
    std::this_thread::yield();
    return;
  }
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

int32_t TaskOf(uint64_t ticket) { return static_cast<int32_t>(ticket & 0xffffffffu); }

}  // namespace

ThreadPool::ThreadPool(int32_t threads) : next_(threads) {
  for (int32_t i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i] { WorkerLoop(i); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::RunOnAll(int32_t tasks, Function function, const void* body) {
  std::lock_guard<std::mutex> turn(callers_);
  // No task is left of the previous job, so nobody can take one while the fields
  // change; a thread that reads them now fails to move the ticket below.
  const uint64_t job = (ticket_.load() >> 32) + 1;
  done_.store(0);
  ticket_.store(job << 32 | 0xffffffffu >> 1);
  tasks_.store(tasks);
  function_.store(function);
  body_.store(body);
  for (int32_t i = 0; i < threads(); ++i) next_[i].task.store(FirstTask(i));
  ticket_.store((job + 1) << 32);
  if (sleeping_.load() > 0) {
    // The lock closes the window between a worker's last look and its sleep.
    { std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }
  while (DoOneTask(0)) {
  }
  for (int spin = 0; done_.load() != tasks; ++spin) Pause(spin);
}

bool ThreadPool::HasTask() const { return TaskOf(ticket_.load()) < tasks_.load(); }

int32_t ThreadPool::FirstTask(int32_t thread) const {
  return static_cast<int32_t>(int64_t{thread} * tasks_.load() / threads());
}

// There are as many tasks left as tickets were not yet redeemed, so one is found.
int32_t ThreadPool::TakeTask(int32_t thread) {
  for (int32_t range = thread;; range = (range + 1) % threads()) {
    const int32_t task = next_[range].task.fetch_add(1);
    if (task < FirstTask(range + 1)) return task;
  }
}

bool ThreadPool::DoOneTask(int32_t thread) {
  uint64_t ticket = ticket_.load();
  for (;;) {
    const int32_t task = TaskOf(ticket);
    if (task >= tasks_.load()) return false;
    const Function function = function_.load();
    const void* body = body_.load();
    if (ticket_.compare_exchange_weak(ticket, ticket + 1)) {
      function(body, TakeTask(thread), thread);
      done_.fetch_add(1);
      return true;
    }
  }
}

void ThreadPool::WorkerLoop(int32_t thread) {
  while (!stop_.load()) {
    while (DoOneTask(thread)) {
    }
    for (int spin = 0; spin < kSpins && !HasTask() && !stop_.load(); ++spin) Pause(spin);
    if (HasTask()) continue;
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.fetch_add(1);
    wake_.wait(lock, [this] { return HasTask() || stop_.load(); });
    sleeping_.fetch_sub(1);
  }
}

}  // namespace qsparse
