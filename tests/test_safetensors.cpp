// The safetensors reader against a corpus of attacks, each made here, and the writer against the reader.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <functional>
#include <random>

#include "catch.h"
#include "scratch.h"

#include <gradus/fmt.h>
#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;
using data::load_safetensors;
using data::save_safetensors;

namespace {

/// A file of header length, header and data.
std::string file_of(const std::string& header, const std::string& data = "") {
  return bytes_of<uint64_t>(header.size()) + header + data;
}
std::string tensor_of(const std::string& name, const std::string& dtype, const std::string& shape,
                      const std::string& offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{}]}})", name, dtype, shape, offsets);
}
const std::string one = tensor_of("a", "U8", "4", "0,4");  // fits four bytes of data

/// The message that loading these bytes ends in; "loaded" when it does not.
std::string outcome(const std::string& bytes) {
  const Scratch scratch(bytes.size() < 1 << 20 ? Scratch::Place::memory : Scratch::Place::disk);
  try {
    load_safetensors(write_file(scratch / "f.safetensors", bytes));
    return "loaded";
  } catch (const IoError& error) {
    return error.what();
  }
}

struct Attack {
  const char* name;
  int rule;
  std::string bytes;
};

std::vector<Attack> attacks() {
  const auto header = [](const std::string& members, const std::string& data = "abcd") {
    return file_of("{" + members + "}", data);
  };
  const auto field = [&](const std::string& text) { return file_of("{\"a\":{" + text + "}}", "abcd"); };
  std::string million = "{";
  for (int i = 0; i <= 1'000'000; ++i) million += fmt::format("\"{}\":{{}},", i);
  million.back() = '}';
  return {
      {"empty file", 1, ""},
      {"seven bytes", 1, "\x02\0\0\0\0\0\0"},
      {"header of 2^63", 1, bytes_of<uint64_t>(uint64_t{1} << 63) + "{}"},
      {"header of 2^64 - 1", 1, bytes_of<uint64_t>(~uint64_t{0}) + "{}"},
      {"header longer than the file", 1, bytes_of<uint64_t>(3) + "{}"},
      {"header of 0", 1, bytes_of<uint64_t>(0) + "{}"},
      {"header of 1", 1, bytes_of<uint64_t>(1) + "{}"},
      {"100 MB of braces", 2, file_of(std::string(100'000'000, '{'))},
      {"deep brackets in a shape", 4, field(R"("dtype":"U8","shape":)" + std::string(100'000, '['))},
      {"one million empty objects", 4, file_of(million)},
      {"byte order mark", 2, file_of("\xef\xbb\xbf{" + one + "}", "abcd")},
      {"space before the header", 2, file_of(" {" + one + "}", "abcd")},
      {"a list", 2, file_of("[" + one + "]", "abcd")},
      {"newline behind the header", 2, file_of("{" + one + "}\n", "abcd")},
      {"a second object", 2, file_of("{" + one + "}{}", "abcd")},
      {"NUL behind the header", 2, file_of("{" + one + "}" + std::string(1, '\0'), "abcd")},
      {"no end", 2, file_of("{" + one, "abcd")},
      {"comma at the end", 2, header(one + ",")},
      {"comment", 2, header("/**/" + one)},
      {"bare key", 2, header("a:{}")},
      {"invalid UTF-8", 2, header(tensor_of("\xff", "U8", "4", "0,4"))},
      {"overlong UTF-8", 2, header(tensor_of("\xc0\x80", "U8", "4", "0,4"))},
      {"overlong of three bytes", 2, header(tensor_of("\xe0\x80\x80", "U8", "4", "0,4"))},
      {"surrogate in UTF-8", 2, header(tensor_of("\xed\xa0\x80", "U8", "4", "0,4"))},
      {"above U+10FFFF", 2, header(tensor_of("\xf4\x90\x80\x80", "U8", "4", "0,4"))},
      {"cut UTF-8", 2, header(tensor_of("\xe2\x82", "U8", "4", "0,4"))},
      {"lone high surrogate", 2, header(tensor_of(R"(\ud800)", "U8", "4", "0,4"))},
      {"lone low surrogate", 2, header(tensor_of(R"(\udc00)", "U8", "4", "0,4"))},
      {"two high surrogates", 2, header(tensor_of(R"(\ud800\ud800)", "U8", "4", "0,4"))},
      {"bad escape", 2, header(tensor_of(R"(\x)", "U8", "4", "0,4"))},
      {"short escape", 2, header(tensor_of(R"(\u12)", "U8", "4", "0,4"))},
      {"newline in a name", 2, header(tensor_of("a\nb", "U8", "4", "0,4"))},
      {"NUL in a name", 3, header(tensor_of(R"(a\u0000b)", "U8", "4", "0,4"))},
      {"raw NUL in a name", 2, header(tensor_of(std::string("a\0b", 3), "U8", "4", "0,4"))},
      {"name of 4097 bytes", 3, header(tensor_of(std::string(4097, 'a'), "U8", "4", "0,4"))},
      {"duplicate tensor", 3, header(one + "," + one)},
      {"duplicate behind an escape", 3, header(one + "," + tensor_of(R"(\u0061)", "U8", "4", "0,4"))},
      {"duplicate field", 3, field(R"("dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4])")},
      {"duplicate offsets", 3, field(R"("dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,4])")},
      {"duplicate metadata", 3, header(R"("__metadata__":{},"__metadata__":{},)" + one)},
      {"duplicate key in the metadata", 3, header(R"("__metadata__":{"k":"1","k":"2"},)" + one)},
      {"nested metadata", 3, header(R"("__metadata__":{"k":{"l":"m"}},)" + one)},
      {"number in the metadata", 3, header(R"("__metadata__":{"k":1},)" + one)},
      {"null in the metadata", 3, header(R"("__metadata__":{"k":null},)" + one)},
      {"metadata is a string", 3, header(R"("__metadata__":"k",)" + one)},
      {"unknown dtype", 4, header(tensor_of("a", "F4", "4", "0,4"))},
      {"dtype that Gradus has not", 4, header(tensor_of("a", "I16", "2", "0,4"))},
      {"dtype in lower case", 4, header(tensor_of("a", "u8", "4", "0,4"))},
      {"dtype is a number", 4, field(R"("dtype":1,"shape":[4],"data_offsets":[0,4])")},
      {"shape is a number", 4, field(R"("dtype":"U8","shape":4,"data_offsets":[0,4])")},
      {"shape of strings", 4, header(tensor_of("a", "U8", "\"4\"", "0,4"))},
      {"unknown field", 4, field(R"("dtype":"U8","shape":[4],"data_offsets":[0,4],"path":"x")")},
      {"no shape", 4, field(R"("dtype":"U8","data_offsets":[0,4])")},
      {"no dtype", 4, field(R"("shape":[4],"data_offsets":[0,4])")},
      {"no offsets", 4, field(R"("dtype":"U8","shape":[4])")},
      {"one offset", 4, header(tensor_of("a", "U8", "4", "0"))},
      {"three offsets", 4, header(tensor_of("a", "U8", "4", "0,4,4"))},
      {"tensor is a list", 4, header(R"("a":[])")},
      {"negative size", 4, header(tensor_of("a", "U8", "-4", "0,4"))},
      {"minus zero", 4, header(tensor_of("a", "U8", "4", "-0,4"))},
      {"plus sign", 4, header(tensor_of("a", "U8", "+4", "0,4"))},
      {"exponent", 4, header(tensor_of("a", "U8", "1e9", "0,4"))},
      {"fraction", 4, header(tensor_of("a", "U8", "4.0", "0,4"))},
      {"leading zero", 4, header(tensor_of("a", "U8", "04", "0,4"))},
      {"hexadecimal", 4, header(tensor_of("a", "U8", "0x4", "0,4"))},
      {"true", 4, header(tensor_of("a", "U8", "true", "0,4"))},
      {"NaN", 4, header(tensor_of("a", "U8", "NaN", "0,4"))},
      {"size of 2^63", 4, header(tensor_of("a", "U8", "9223372036854775808", "0,4"))},
      {"size of 2^64 - 1", 4, header(tensor_of("a", "U8", "18446744073709551615", "0,4"))},
      {"size of 2^64 + 4", 4, header(tensor_of("a", "U8", "18446744073709551620", "0,4"))},
      {"product wraps to 0", 5,
       header(tensor_of("a", "U8", "4294967296,4294967296", "0,0") + "," + tensor_of("b", "U8", "4", "0,4"))},
      {"product wraps to 4", 5, header(tensor_of("a", "U8", "4,4611686018427387905", "0,4"))},
      {"product wraps by the item size", 5, header(tensor_of("a", "F32", "4611686018427387905", "0,4"))},
      {"product wraps and a zero", 5,
       header(tensor_of("a", "U8", "4294967296,4294967296,0", "0,0") + "," + tensor_of("b", "U8", "4", "0,4"))},
      {"nine dims", 5, header(tensor_of("a", "U8", "4,1,1,1,1,1,1,1,1", "0,4"))},
      {"shape too small", 5, header(tensor_of("a", "U8", "3", "0,4"))},
      {"shape too large", 5, header(tensor_of("a", "F32", "2", "0,4"))},
      {"end before begin", 5, header(tensor_of("a", "U8", "4", "4,0"))},
      {"end behind the file", 5, header(tensor_of("a", "U8", "5", "0,5"))},
      {"offsets of 2^63 - 1", 5, header(tensor_of("a", "U8", "0", "9223372036854775807,9223372036854775807"))},
      {"overlap", 6, header(tensor_of("a", "U8", "3", "0,3") + "," + tensor_of("b", "U8", "2", "2,4"))},
      {"the same bytes twice", 6, header(one + "," + tensor_of("b", "U8", "4", "0,4"))},
      {"hole", 6, header(tensor_of("a", "U8", "1", "0,1") + "," + tensor_of("b", "U8", "2", "2,4"))},
      {"hole at the start", 6, header(tensor_of("a", "U8", "3", "1,4"))},
      {"empty tensor inside another", 6, header(one + "," + tensor_of("b", "U8", "0", "2,2"))},
      {"trailing bytes", 6, header(one, "abcde")},
      {"a ZIP behind it", 6, header(one, "abcdPK\x05\x06" + std::string(18, '\0'))},
      {"data without tensors", 6, file_of("{}", "abcd")},
  };
}

int64_t resident_peak() {  // bytes
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace

TEST_CASE("every attack is refused with the number of the rule it breaks") {
  int refused = 0;
  for (const Attack& attack : attacks()) {
    const int64_t before = resident_peak();
    const std::string message = outcome(attack.bytes);
    INFO(attack.name << ": " << message);
    CHECK_THAT(message, ContainsSubstring(fmt::format("f.safetensors: breaks rule {}: ", attack.rule)));
    CHECK(resident_peak() - before < 8 * static_cast<int64_t>(attack.bytes.size()) + (8 << 20));
    CHECK(message.size() < 10'000);
    ++refused;
  }
  fmt::print("figure R20 {} attacks refused, target all\n", refused);
}

TEST_CASE("a file cut at any byte is refused, and so is one with a byte more") {
  const Scratch scratch;
  Tensor x = randn({2, 3});
  save_safetensors(scratch / "whole", {{"x", x}, {"flag", ones({3}, {.dtype = boolean})}}, {{"k", "v"}});
  const std::string whole = read_file(scratch / "whole");
  CHECK(outcome(whole) == "loaded");
  for (size_t length = 0; length < whole.size(); ++length) {
    INFO("cut to " << length);
    CHECK_THAT(outcome(whole.substr(0, length)), ContainsSubstring("breaks rule"));
  }
  CHECK_THAT(outcome(whole + '\0'), ContainsSubstring("breaks rule 6"));
}

TEST_CASE("a changed byte never does more than change a value, a name or an error") {
  const Scratch scratch;
  save_safetensors(scratch / "whole", {{"x", randn({2, 3})}, {"y", ones({5}, {.dtype = boolean})}}, {{"k", "v"}});
  const std::string whole = read_file(scratch / "whole");
  std::mt19937 random(1);
  for (int round = 0; round < 5000; ++round) {
    std::string changed = whole;
    for (int change = 0; change < 1 + round % 3; ++change)
      changed[random() % changed.size()] = static_cast<char>(random());
    const std::string result = outcome(changed);
    CHECK((result == "loaded" || result.starts_with("load_safetensors: ")));
  }
}

TEST_CASE("what the format allows is read: empty tensors, rank 0, escapes, spaces, any order, misaligned data") {
  const Scratch scratch;
  const std::string header = R"( "b\u00e9\ud83d\ude00\"\\\/":{ "shape" : [ ] ,"data_offsets":[1,5],"dtype":"F32"},
    "../x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
    "e":{"dtype":"I64","shape":[0,7],"data_offsets":[5,5]}, "__metadata__":{"k\n":"","\u20ac":"v"})";
  const std::string path = write_file(scratch / "f", file_of("{" + header + "}   ", "\x07" + bytes_of(2.5f)));
  const data::Safetensors loaded = load_safetensors(path);
  REQUIRE(loaded.tensors.size() == 3);
  CHECK(loaded.tensors[0].name == "bé😀\"\\/");
  CHECK(loaded.tensors[0].tensor.item<float>() == 2.5f);
  CHECK(loaded.tensors[1].name == "../x");  // a name like any other: it never becomes a path
  CHECK(loaded.tensors[1].tensor.item<int64_t>() == 7);
  CHECK(loaded.tensors[2].tensor.shape() == Shape({0, 7}));
  CHECK(loaded.metadata == data::Metadata{{"k\n", ""}, {"€", "v"}});
  CHECK(load_safetensors(write_file(scratch / "g", file_of("{}"))).tensors.empty());
}

namespace {

const std::vector<Shape> shapes = {{}, {0}, {1}, {7}, {3, 0, 2}, {2, 3}, {1, 1, 1, 1, 1, 1, 1, 2}};

/// A tensor whose bytes are random, NaNs of all kinds included.
Tensor random_bytes(const Shape& shape, Dtype dtype, std::mt19937& random) {
  Tensor x = empty(shape, {.dtype = dtype});
  auto* bytes = static_cast<uint8_t*>(x.mutable_raw_data());
  for (int64_t i = 0; i < x.nbytes(); ++i) bytes[i] = static_cast<uint8_t>(dtype == boolean ? random() & 1 : random());
  return x;
}

bool same_bits(const Tensor& x, const Tensor& y) {
  return x.dtype() == y.dtype() && x.shape() == y.shape() &&
         (x.numel() == 0 || std::memcmp(x.raw_data(), y.raw_data(), static_cast<size_t>(x.nbytes())) == 0);
}

}  // namespace

TEST_CASE("what is saved is loaded, bit for bit and in order, for every dtype and kind of shape") {
  const Scratch scratch;
  std::mt19937 random(2);
  NamedTensors saved;
  for (const Shape& shape : shapes)
    for (int dtype = 0; dtype < num_dtypes; ++dtype)
      saved.push_back({fmt::format("{} {}", shape, dtype), random_bytes(shape, static_cast<Dtype>(dtype), random)});
  saved.push_back({"turned", random_bytes({3, 4}, float32, random).t()});
  const data::Metadata metadata = {{"format", "pt"}, {"quote \" and \\ and \n", "é"}};
  save_safetensors(scratch / "f", saved, metadata);
  const data::Safetensors loaded = load_safetensors(scratch / "f");
  CHECK(loaded.metadata == metadata);
  REQUIRE(loaded.tensors.size() == saved.size());
  for (size_t i = 0; i < saved.size(); ++i) {
    INFO(saved[i].name);
    CHECK(loaded.tensors[i].name == saved[i].name);
    CHECK(same_bits(loaded.tensors[i].tensor, dense(saved[i].tensor)));
  }
  CHECK(read_file(scratch / "f").find("{\"__metadata__\":{\"format\":\"pt\"") == 8);
}

TEST_CASE("the header's text and the layout are those of the format's own description") {
  const Scratch scratch;
  save_safetensors(scratch / "f", {{"byte", ones({1}, {.dtype = uint8})}, {"wide", tensor({1.0}, {.dtype = float64})}});
  const std::string header = R"({"byte":{"dtype":"U8","shape":[1],"data_offsets":[8,9]},)"
                             R"("wide":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  CHECK(read_file(scratch / "f") == file_of(padded, bytes_of(1.0) + "\x01"));
}

TEST_CASE("a boolean other than 0 and 1 is refused") {
  CHECK(outcome(file_of("{" + tensor_of("a", "BOOL", "2", "0,2") + "}", std::string("\0\1", 2))) == "loaded");
  CHECK_THAT(outcome(file_of("{" + tensor_of("a", "BOOL", "2", "0,2") + "}", "\1\2")), ContainsSubstring("boolean"));
}

TEST_CASE("nonsense is not written") {
  const Scratch scratch;
  const std::string path = scratch / "f";
  const Tensor x = zeros({1});
  CHECK_THROWS_AS(save_safetensors(path, {{"a", x}, {"a", x}}), ValueError);
  CHECK_THROWS_AS(save_safetensors(path, {{"__metadata__", x}}), ValueError);
  CHECK_THROWS_AS(save_safetensors(path, {{"\xff", x}}), ValueError);
  CHECK_THROWS_AS(save_safetensors(path, {{std::string(4097, 'a'), x}}), ValueError);
  CHECK_THROWS_AS(save_safetensors(path, {{std::string("a\0", 2), x}}), ValueError);
  CHECK_THROWS_AS(save_safetensors(path, {{"a", x}}, {{"k", "1"}, {"k", "2"}}), ValueError);
  CHECK_THROWS_WITH(save_safetensors(path, {{"a", Tensor()}}), ContainsSubstring("a is an undefined tensor"));
  CHECK(std::filesystem::is_empty(scratch.path()));
}

TEST_CASE("a header above 100 MB is refused before it is read") {
  const Scratch scratch(Scratch::Place::disk);
  const std::string path = write_file(scratch / "f", bytes_of<uint64_t>(100'000'001));
  std::filesystem::resize_file(path, 200'000'000);
  CHECK_THROWS_WITH(load_safetensors(path), ContainsSubstring("breaks rule 1"));
}

TEST_CASE("files that are none are refused without waiting for them") {
  const Scratch scratch;
  CHECK_THROWS_WITH(load_safetensors(scratch / "absent"), ContainsSubstring("No such file"));
  CHECK_THROWS_WITH(load_safetensors(scratch.path()), ContainsSubstring("is a folder"));
  REQUIRE(mkfifo((scratch / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_WITH(load_safetensors(scratch / "pipe"), ContainsSubstring("not a regular file"));
  CHECK_THROWS_AS(save_safetensors(scratch / "no/such/folder", {{"a", zeros({1})}}), IoError);
}

TEST_CASE("a full disk leaves the old file and no other") {
  const Scratch scratch;
  const std::string path = scratch / "f";
  save_safetensors(path, {{"a", ones({4})}});
  const std::string before = read_file(path);
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{4096, old.rlim_max};  // the nearest to a full disk that needs no other disk
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  CHECK_THROWS_AS(save_safetensors(path, {{"a", ones({100'000})}}), IoError);
  setrlimit(RLIMIT_FSIZE, &old);
  CHECK(read_file(path) == before);
  CHECK(std::distance(std::filesystem::directory_iterator(scratch.path()), {}) == 1);
}
