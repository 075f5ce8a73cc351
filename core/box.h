// Sole ownership of one object on the heap, as std::unique_ptr has it; <memory> is too dear for public headers.
#pragma once

#include <type_traits>
#include <utility>

namespace gradus {

template <class T>
class Box {
 public:
  Box() = default;
  /// Takes the object over.
  explicit Box(T* p) : p_(p) {}
  template <class U>
  requires std::is_convertible_v<U*, T*> Box(Box<U>&& other)
  noexcept : p_(other.leak()) {}
  Box(Box&& other) noexcept : p_(other.leak()) {}
  Box& operator=(Box&& other) noexcept {
    std::swap(p_, other.p_);
    return *this;
  }
  ~Box() { delete p_; }

  T* get() const noexcept { return p_; }
  T* operator->() const noexcept { return p_; }
  T& operator*() const noexcept { return *p_; }
  explicit operator bool() const noexcept { return p_ != nullptr; }
  /// Gives the object up without ending it.
  T* leak() noexcept { return std::exchange(p_, nullptr); }

 private:
  T* p_ = nullptr;
};

template <class T, class... Args>
Box<T> make_box(Args&&... args) {
  return Box<T>(new T(std::forward<Args>(args)...));
}

}  // namespace gradus
