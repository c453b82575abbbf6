// Packed weights are made once for all interpreters of a process that run equal layers.
#ifndef QSPARSE_BASE_SHARED_WEIGHTS_H_
#define QSPARSE_BASE_SHARED_WEIGHTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace qsparse {

using Fingerprint = std::array<uint64_t, 2>;

// Two polynomials of everything that was added, modulo 2^61 - 1, at secret random
// points: two different texts of n words share one with a probability below
// (n / 2^61)^2, whoever wrote them.
class Fingerprinter {
 public:
  void Add(const void* data, size_t bytes);
  void Add(int64_t value) { Add(&value, sizeof(value)); }
  void Add(const std::vector<int32_t>& values) {
    Add(values.data(), values.size() * sizeof(int32_t));
  }

  const Fingerprint& value() const { return value_; }

 private:
  Fingerprint value_ = {1, 1};
};

// Weights live as long as somebody uses them. Safe to call from several threads.
template <typename Weights>
class SharedWeights {
 public:
  // `make` returns a std::shared_ptr<const Weights>, or null, which is not kept.
  template <typename Make>
  std::shared_ptr<const Weights> Get(const Fingerprint& key, const Make& make) {
    if (auto known = Find(key)) return known;
    // Outside the lock: others need not wait for this layer.
    std::shared_ptr<const Weights> made = make();
    if (made == nullptr) return nullptr;
    std::lock_guard<std::mutex> lock(mutex_);
    if (auto meanwhile = known_[key].lock()) return meanwhile;
    known_[key] = made;
    return made;
  }

 private:
  std::shared_ptr<const Weights> Find(const Fingerprint& key) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto entry = known_.begin(); entry != known_.end();) {
      entry = entry->second.expired() ? known_.erase(entry) : std::next(entry);
    }
    const auto found = known_.find(key);
    return found == known_.end() ? nullptr : found->second.lock();
  }

  std::mutex mutex_;
  std::map<Fingerprint, std::weak_ptr<const Weights>> known_;
};

}  // namespace qsparse

#endif  // QSPARSE_BASE_SHARED_WEIGHTS_H_
