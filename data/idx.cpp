// The IDX format (LeCun et al., the MNIST database): a magic number, big-endian sizes, big-endian values.
#include <type_traits>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/data/detail/reader.h>
#include <gradus/data/readers.h>

namespace gradus::data {
namespace {

using detail::Reader;

/// Values of `From` on disk, which Gradus has no dtype for, as int32.
template <class From>
Tensor read_widened(Reader& file, const Shape& shape) {
  file.bytes_of(std::span(shape.begin(), shape.size()), sizeof(From) == 1 ? uint8 : float16, "the data");
  Tensor x = empty(shape, {.dtype = int32});
  int32_t* values = x.mutable_data<int32_t>();
  for (int64_t i = 0; i < x.numel(); ++i)
    values[i] = static_cast<From>(file.big<std::make_unsigned_t<From>>("the data"));
  return x;
}

Tensor read_values(Reader& file, int type, const Shape& shape) {
  const auto swapped = [&](Dtype dtype) {
    const Tensor x = file.tensor(shape, dtype, "the data");
    detail::swap_bytes(x);
    return x;
  };
  switch (type) {
    case 0x08: return file.tensor(shape, uint8, "the data");
    case 0x09: return read_widened<int8_t>(file, shape);
    case 0x0B: return read_widened<int16_t>(file, shape);
    case 0x0C: return swapped(int32);
    case 0x0D: return swapped(float32);
    case 0x0E: return swapped(float64);
    default: file.fail(fmt::format("no IDX file: element type 0x{:02x} is unknown", type));
  }
}

}  // namespace

Tensor read_idx(const std::string& path) {
  Reader file("read_idx", path, Reader::Format::maybe_gzip);
  const auto magic = file.big<uint32_t>("the magic number");
  if (magic >> 16 != 0) file.fail(fmt::format("no IDX file: begins with 0x{:08x}, not with two zero bytes", magic));
  Shape shape;
  const int rank = static_cast<int>(magic & 0xff);
  if (rank > max_rank) file.fail(fmt::format("has {} dims; Gradus has at most {}", rank, max_rank));
  for (int d = 0; d < rank; ++d) shape.push_back(file.big<uint32_t>("the sizes"));
  Tensor x = read_values(file, static_cast<int>(magic >> 8 & 0xff), shape);
  file.expect_end("the data");
  return x;
}

}  // namespace gradus::data
