// Several tensors as few: one flat tensor for each dtype and device, copied to and fro.
#pragma once

#include <vector>

#include <gradus/core/tensor.h>

namespace gradus::dist::detail {

class Packed {
 public:
  explicit Packed(std::vector<Tensor> tensors);
  /// Copies the tensors to the flat ones, and back.
  void pack() const { copy(true); }
  void unpack() const { copy(false); }
  const std::vector<Tensor>& flats() const { return flats_; }

 private:
  void copy(bool packing) const;
  std::vector<Tensor> tensors_, views_, flats_;
};

}  // namespace gradus::dist::detail
