// Intrusive reference counting: the base of tensors, storages and graph nodes, and the handle that counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <gradus/core/api.h>

namespace gradus {

/// Memory for small, short-lived objects, from a per-thread cache. `bytes` must be the same in both calls.
GRADUS_API void* small_allocate(size_t bytes);
GRADUS_API void small_free(void* p, size_t bytes) noexcept;

/// Base of what Ref counts. An object is born with a count of one, its maker's, which make_ref() hands over. (The
/// compiler's atomic operations, because <atomic> is a fifth of the budget that a script's compile time has for
/// headers.)
class GRADUS_API RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;
  virtual ~RefCounted() = default;

  void retain() const noexcept { __atomic_fetch_add(&count_, 1, __ATOMIC_RELAXED); }
  void release() const noexcept {
    // A sole owner needs no read-modify-write: nobody else can be looking.
    if (__atomic_load_n(&count_, __ATOMIC_ACQUIRE) == 1 || __atomic_fetch_sub(&count_, 1, __ATOMIC_ACQ_REL) == 1)
      const_cast<RefCounted*>(this)->destroy();
  }
  uint32_t use_count() const noexcept { return __atomic_load_n(&count_, __ATOMIC_ACQUIRE); }

 protected:
  /// Ends the object; types with trailing storage or an iterative release override it.
  virtual void destroy() noexcept { delete this; }

 private:
  mutable uint32_t count_ = 1;
};

/// Counting handle, the size of a pointer.
template <class T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}
  /// One more handle of an object that is held already.
  explicit Ref(T* p) : p_(p) {
    if (p_) p_->retain();
  }
  Ref(const Ref& other) : Ref(other.p_) {}
  Ref(Ref&& other) noexcept : p_(std::exchange(other.p_, nullptr)) {}
  template <class U>
  requires std::is_convertible_v<U*, T*> Ref(Ref<U> other)
  noexcept : p_(other.leak()) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(p_, other.p_);
    return *this;
  }
  ~Ref() {
    if (p_) p_->release();
  }

  T* get() const noexcept { return p_; }
  T* operator->() const noexcept { return p_; }
  T& operator*() const noexcept { return *p_; }
  explicit operator bool() const noexcept { return p_ != nullptr; }
  bool operator==(const Ref& other) const noexcept { return p_ == other.p_; }
  /// Gives up the count without decrementing it.
  T* leak() noexcept { return std::exchange(p_, nullptr); }
  /// Takes over a count: the one that leak() gave up, or that of a new object.
  static Ref adopt(T* p) noexcept {
    Ref ref;
    ref.p_ = p;
    return ref;
  }

 private:
  T* p_ = nullptr;
};

/// A new object, and its first handle.
template <class T, class... Args>
Ref<T> make_ref(Args&&... args) {
  return Ref<T>::adopt(new T(std::forward<Args>(args)...));
}

}  // namespace gradus
