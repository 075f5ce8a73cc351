// A value of any type with a given base, kept alive by all who hold it: how a loader keeps its data set and sampler.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include <gradus/core/ref.h>

namespace gradus::data {

/// Made from an object, which it takes over, or from any kind of pointer to one (null: it holds nothing). Copies hold
/// the same object, which cannot be changed.
template <class Base>
class Shared {
 public:
  Shared() = default;
  template <class T>
  requires std::is_base_of_v<Base, T> Shared(T object) : holder_(make_ref<Value<T>>(std::move(object))) {}
  template <class P>
  requires requires(const P& p) {
    { *p } -> std::convertible_to<const Base&>;
    static_cast<bool>(p);
  }
  Shared(P pointer) : holder_(pointer ? Ref<Holder>(make_ref<Pointer<P>>(std::move(pointer))) : nullptr) {}

  explicit operator bool() const { return static_cast<bool>(holder_); }
  const Base& operator*() const { return holder_->get(); }
  const Base* operator->() const { return &holder_->get(); }

 private:
  struct Holder : RefCounted {
    virtual const Base& get() const = 0;
  };
  template <class T>
  struct Value : Holder {
    explicit Value(T value) : object(std::move(value)) {}
    const Base& get() const override { return object; }
    T object;
  };
  template <class P>
  struct Pointer : Holder {
    explicit Pointer(P p) : pointer(std::move(p)) {}
    const Base& get() const override { return *pointer; }
    P pointer;
  };

  Ref<Holder> holder_;
};

}  // namespace gradus::data
