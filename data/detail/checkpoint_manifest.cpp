// Writing, parsing and checking manifests. One that is read is hostile: nothing in it is used before it was compared
// with something that is known.
#include <gradus/data/detail/checkpoint_manifest.h>

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/data/detail/json_scanner.h>
#include <gradus/data/detail/names.h>
#include <gradus/data/detail/safetensors_header.h>

namespace gradus::data::detail {
namespace {

constexpr const char* format_name = "gradus-checkpoint-2";
constexpr int any_rule = 0;  // the manifest's rules have no numbers

[[noreturn]] void fail(const std::string& problem) { throw IoError("the manifest is malformed: " + problem); }

std::string last_line(std::string_view lines_above) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(lines_above.data());
  return fmt::format("  \"crc32\": \"{:08x}\"\n}}\n", crc32_z(0, bytes, lines_above.size()));
}

/// Elements of a tensor whose bytes can be counted.
int64_t checked_numel(const Manifest::Tensor& tensor) {
  int64_t numel = 1, bytes = 0;
  bool wraps = false, zero = false;
  for (const int64_t size : tensor.shape) {
    zero |= size == 0;
    wraps |= size > 0 && __builtin_mul_overflow(numel, size, &numel);
  }
  if (wraps || __builtin_mul_overflow(numel, itemsize(tensor.dtype), &bytes))
    fail(fmt::format("'{}' has more bytes than 64 bits count", tensor.name));
  return zero ? 0 : numel;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : json_(text, broken_) {}

  Manifest manifest() {
    Manifest m;
    json_.expect('{', any_rule);
    json_.key("format", any_rule);
    if (json_.string(any_rule) != format_name) fail(fmt::format("its format is not {}", format_name));
    next("step");
    m.step = integer();
    next("files");
    json_.array(any_rule, [&] { m.files.push_back(file()); });
    for (int64_t i = 0; const std::string& name : file_names_)
      if (const std::string wanted = rank_file(i++, std::ssize(m.files)); name != wanted)
        fail(fmt::format("a file is '{}'; want '{}'", name, wanted));
    next("tensors");
    json_.array(any_rule, [&] { m.tensors.push_back(tensor(std::ssize(m.files))); });
    next("crc32");
    json_.string(any_rule);
    json_.expect('}', any_rule);
    json_.end("\n", any_rule);
    return m;
  }

 private:
  int64_t integer() { return json_.integer(any_rule); }
  void next(std::string_view field) {
    json_.expect(',', any_rule);
    json_.key(field, any_rule);
  }

  Manifest::File file() {
    json_.expect('{', any_rule);
    json_.key("name", any_rule);
    file_names_.push_back(json_.string(any_rule));
    next("size");
    const auto size = static_cast<uint64_t>(integer());
    next("crc32");
    const std::string digits = json_.string(any_rule);
    uint32_t crc = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), crc, 16);
    if (digits != fmt::format("{:08x}", crc)) fail(fmt::format("'{}' is no CRC-32", digits));
    json_.expect('}', any_rule);
    return {size, crc};
  }

  Manifest::Tensor tensor(int64_t files) {
    json_.expect('{', any_rule);
    json_.key("name", any_rule);
    std::string name = json_.string(any_rule);
    if (name.size() > longest_name) fail(fmt::format("a name has more than {} bytes", longest_name));
    next("dtype");
    const Dtype dtype = read_dtype(json_, name, any_rule);
    next("shape");
    Manifest::Tensor tensor{std::move(name), dtype, read_shape(json_, name, any_rule), {}};
    const int64_t numel = checked_numel(tensor);
    next("pieces");
    json_.array(any_rule, [&] { tensor.pieces.push_back(piece(tensor, files, numel)); });
    json_.expect('}', any_rule);
    return tensor;
  }

  Manifest::Piece piece(const Manifest::Tensor& tensor, int64_t files, int64_t numel) {
    json_.expect('[', any_rule);
    const int64_t file = integer();
    json_.expect(',', any_rule);
    const int64_t begin = integer();
    json_.expect(',', any_rule);
    const int64_t count = integer();
    json_.expect(']', any_rule);
    if (file >= files) fail(fmt::format("'{}' has a piece in file {} of {}", tensor.name, file, files));
    if (count == 0 || begin > numel || count > numel - begin)
      fail(fmt::format("'{}' has {} elements from {} on; there are {}", tensor.name, count, begin, numel));
    return {file, begin, count};
  }

  const BrokenRule broken_ = [](int, const std::string& problem) { fail(problem); };
  JsonScanner json_;
  std::vector<std::string> file_names_;
};

}  // namespace

std::string rank_file(int64_t rank, int64_t ranks) {
  return fmt::format("rank-{:05}-of-{:05}.safetensors", rank, ranks);
}

std::string piece_name(const std::string& tensor, const Shape& shape, int64_t begin, int64_t end) {
  return begin == 0 && end == shape.numel() ? tensor : fmt::format("{}[{}:{}]", tensor, begin, end);
}

std::string to_text(const Manifest& m) {
  std::string text = fmt::format("{{\n  \"format\": \"{}\",\n  \"step\": {},\n  \"files\": [", format_name, m.step);
  const char* separator = "\n";
  for (size_t i = 0; i < m.files.size(); ++i, separator = ",\n")
    text += fmt::format("{}    {{\"name\": \"{}\", \"size\": {}, \"crc32\": \"{:08x}\"}}", separator,
                        rank_file(static_cast<int64_t>(i), std::ssize(m.files)), m.files[i].size, m.files[i].crc);
  text += "\n  ],\n  \"tensors\": [";
  separator = "\n";
  for (const Manifest::Tensor& tensor : m.tensors) {
    std::vector<std::string> pieces;
    for (const auto& [file, begin, count] : tensor.pieces)
      pieces.push_back(fmt::format("[{}, {}, {}]", file, begin, count));
    text += fmt::format("{}    {{\"name\": {}, \"dtype\": \"{}\", \"shape\": [{}], \"pieces\": [{}]}}",
                        std::exchange(separator, ",\n"), json_quoted(tensor.name), dtype_text(tensor.dtype),
                        fmt::join(tensor.shape.begin(), tensor.shape.end(), ", "), fmt::join(pieces, ", "));
  }
  text += "\n  ],\n";
  return text + last_line(text);
}

Manifest parse_manifest(std::string_view text) {
  const size_t length = last_line("").size();
  const std::string_view above = text.substr(0, text.size() - std::min(length, text.size()));
  if (text.substr(above.size()) != last_line(above)) fail("its last line is not the CRC-32 of those above");
  if (!is_utf8(text)) fail("it is not UTF-8");
  return Parser(text).manifest();
}

void check_whole(const Manifest& m) {
  uint64_t there = 0, wanted = 0;
  for (const Manifest::File& file : m.files)
    if (__builtin_add_overflow(there, file.size, &there)) fail("the files have more bytes than 64 bits count");
  std::vector<std::string_view> names;
  for (const Manifest::Tensor& tensor : m.tensors) {
    names.push_back(tensor.name);
    int64_t reached = 0;
    for (const Manifest::Piece& piece : tensor.pieces) {
      if (piece.begin != reached)
        fail(fmt::format("a piece of '{}' begins at {}; the one before ends at {}", tensor.name, piece.begin, reached));
      reached = piece.end();
    }
    const int64_t numel = checked_numel(tensor);
    if (reached != numel) fail(fmt::format("'{}' has {} elements, its pieces {}", tensor.name, numel, reached));
    const auto bytes = static_cast<uint64_t>(numel * itemsize(tensor.dtype));
    if (__builtin_add_overflow(wanted, bytes, &wanted) || wanted > there)
      fail("the tensors have more bytes than the files");
  }
  if (m.tensors.size() > most_tensors) fail(fmt::format("it has more than {} tensors", most_tensors));
  if (const auto twin = find_twin(std::move(names))) fail(fmt::format("'{}' is there twice", *twin));
}

Manifest merge(std::vector<Manifest> ranks) {
  Manifest all;
  all.step = ranks.at(0).step;
  std::unordered_map<std::string, size_t> places;
  for (Manifest& rank : ranks) {
    for (Manifest::Tensor& tensor : rank.tensors) {
      for (Manifest::Piece& piece : tensor.pieces) piece.file = std::ssize(all.files);
      const auto [place, is_new] = places.try_emplace(tensor.name, all.tensors.size());
      if (is_new) {
        all.tensors.push_back(std::move(tensor));
        continue;
      }
      Manifest::Tensor& known = all.tensors[place->second];
      if (known.dtype != tensor.dtype || known.shape != tensor.shape)
        fail(fmt::format("'{}' is {}{} on one rank and {}{} on another", known.name, known.dtype, known.shape,
                         tensor.dtype, tensor.shape));
      known.pieces.insert(known.pieces.end(), tensor.pieces.begin(), tensor.pieces.end());
    }
    all.files.push_back(rank.files.at(0));
  }
  for (Manifest::Tensor& tensor : all.tensors)
    std::sort(tensor.pieces.begin(), tensor.pieces.end(),
              [](const Manifest::Piece& a, const Manifest::Piece& b) { return a.begin < b.begin; });
  check_whole(all);
  return all;
}

}  // namespace gradus::data::detail
