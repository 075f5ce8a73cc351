// A bounded map from geometries to what is costly to make for them: the entry that was not used for longest goes first.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>

namespace gradus::detail {

template <class Key, class Value>
class LruCache {
 public:
  explicit LruCache(size_t capacity) : capacity_(capacity) {}

  /// The value of `key`, from make() when it is not there. What callers hold lives on after it was dropped.
  template <class Make>
  std::shared_ptr<const Value> get(const Key& key, Make make) {
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = places_.find(key); found != places_.end()) {
        entries_.splice(entries_.begin(), entries_, found->second);
        return entries_.front().second;
      }
    }
    std::shared_ptr<const Value> value = make();  // two threads may both make it; the first one's is kept
    const std::lock_guard lock(mutex_);
    if (const auto found = places_.find(key); found != places_.end()) return found->second->second;
    entries_.emplace_front(key, value);
    places_.emplace(key, entries_.begin());
    if (entries_.size() > capacity_) {
      places_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return value;
  }

 private:
  using Entries = std::list<std::pair<Key, std::shared_ptr<const Value>>>;
  const size_t capacity_;
  std::mutex mutex_;
  Entries entries_;  // the last used first
  std::map<Key, typename Entries::iterator> places_;
};

}  // namespace gradus::detail
