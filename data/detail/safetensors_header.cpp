// The one grammar that a safetensors header may have.
#include <gradus/data/detail/safetensors_header.h>

#include <algorithm>
#include <array>
#include <optional>

#include <gradus/core/detail/check.h>
#include <gradus/data/detail/names.h>

namespace gradus::data::detail {
namespace {

struct DtypeName {
  Dtype dtype;
  std::string_view name;
};
constexpr std::array dtype_names = {DtypeName{float32, "F32"},   DtypeName{float64, "F64"}, DtypeName{float16, "F16"},
                                    DtypeName{bfloat16, "BF16"}, DtypeName{int32, "I32"},   DtypeName{int64, "I64"},
                                    DtypeName{uint8, "U8"},      DtypeName{boolean, "BOOL"}};

class Parser {
 public:
  Parser(std::string_view text, const BrokenRule& broken) : text_(text), json_(text, broken) {}
  Header parse();

 private:
  HeaderEntry entry(std::string name);
  void metadata(Metadata& out);

  std::string_view text_;
  JsonScanner json_;
};

HeaderEntry Parser::entry(std::string name) {
  std::optional<Dtype> dtype;
  std::optional<Shape> sizes;
  std::vector<int64_t> offsets;
  bool has_offsets = false;
  json_.object(4, [&](const std::string& field) {
    const bool again =
        (field == "dtype" && dtype) || (field == "shape" && sizes) || (field == "data_offsets" && has_offsets);
    if (again) json_.fail(3, fmt::format("tensor '{}' has '{}' twice", name, field));
    if (field == "dtype") {
      dtype = read_dtype(json_, name, 4);
    } else if (field == "shape") {
      sizes = read_shape(json_, name, 4);
    } else if (field == "data_offsets") {
      has_offsets = true;
      json_.array(4, [&] {
        if (offsets.size() == 2)
          json_.fail(4, fmt::format("tensor '{}': data_offsets has more than two numbers", name));
        offsets.push_back(json_.integer(4));
      });
    } else {
      json_.fail(4, fmt::format("tensor '{}' has the unknown field '{}'", name, field));
    }
  });
  if (!dtype || !sizes || offsets.size() != 2)
    json_.fail(4, fmt::format("tensor '{}' wants dtype, shape and two data_offsets", name));
  return {std::move(name), *dtype, *sizes, static_cast<uint64_t>(offsets[0]), static_cast<uint64_t>(offsets[1])};
}

void Parser::metadata(Metadata& out) {
  json_.object(3, [&](std::string key) { out.emplace_back(std::move(key), json_.string(3)); });
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : out) keys.push_back(key);
  if (const auto twin = find_twin(std::move(keys))) json_.fail(3, fmt::format("__metadata__ has '{}' twice", *twin));
}

Header Parser::parse() {
  if (text_.empty() || text_.front() != '{') json_.fail(2, "the header does not begin with '{'");
  if (!is_utf8(text_)) json_.fail(2, "the header is not UTF-8");
  Header header;
  bool has_metadata = false;
  json_.object(2, [&](std::string name) {
    if (name.size() > longest_name) json_.fail(3, fmt::format("a name has more than {} bytes", longest_name));
    if (name == "__metadata__") {
      if (std::exchange(has_metadata, true)) json_.fail(3, "__metadata__ comes twice");
      metadata(header.metadata);
    } else {
      if (header.entries.size() == most_tensors) json_.fail(3, fmt::format("more than {} tensors", most_tensors));
      header.entries.push_back(entry(std::move(name)));
    }
  });
  json_.end(" ", 2);
  return header;
}

}  // namespace

std::string_view dtype_text(Dtype dtype) {
  const auto known = std::find_if(dtype_names.begin(), dtype_names.end(),
                                  [&](const DtypeName& candidate) { return candidate.dtype == dtype; });
  return known->name;
}

Dtype read_dtype(JsonScanner& json, const std::string& tensor, int rule) {
  const std::string text = json.string(rule);
  const auto known = std::find_if(dtype_names.begin(), dtype_names.end(),
                                  [&](const DtypeName& candidate) { return candidate.name == text; });
  if (known == dtype_names.end())
    json.fail(rule, fmt::format("tensor '{}' has dtype '{}'; Gradus has none such", tensor, text));
  return known->dtype;
}

Shape read_shape(JsonScanner& json, const std::string& tensor, int rule) {
  Shape sizes;
  json.array(rule, [&] {
    const int64_t size = json.integer(rule);
    if (sizes.rank() == max_rank) json.fail(5, fmt::format("tensor '{}' has more than {} dims", tensor, max_rank));
    sizes.push_back(size);
  });
  return sizes;
}

Header parse_header(std::string_view text, const BrokenRule& broken) { return Parser(text, broken).parse(); }

std::string header_text(const Header& header) {
  std::string text = "{";
  if (!header.metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : header.metadata) text += json_quoted(key) + ':' + json_quoted(value) + ',';
    text.back() = '}';
    text += ',';
  }
  for (const HeaderEntry& entry : header.entries) {
    text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},", json_quoted(entry.name),
                        dtype_text(entry.dtype), fmt::join(entry.shape.begin(), entry.shape.end(), ","), entry.begin,
                        entry.end);
  }
  if (text.size() > 1) text.pop_back();
  text += '}';
  return text.append((8 - text.size() % 8) % 8, ' ');
}

}  // namespace gradus::data::detail
