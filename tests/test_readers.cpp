// Readers of data files: IDX, Fashion-MNIST, CIFAR, CSV, text, npy and npz, each with what hostile files try.
#include <sys/resource.h>
#include <zlib.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>

#include "catch.h"
#include "scratch.h"

#include <gradus/fmt.h>
#include <gradus/gradus.h>

using namespace gradus;
using Catch::Matchers::ContainsSubstring;

namespace {

std::string gzip(const std::string& bytes) {
  std::string packed(compressBound(bytes.size()) + 32, '\0');
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

/// A gzip file's bytes as they stand between its header and trailer.
std::string deflate_raw(const std::string& bytes) {
  const std::string packed = gzip(bytes);
  return packed.substr(10, packed.size() - 18);
}

std::string idx(int type, const std::vector<uint32_t>& shape, const std::string& data) {
  std::string bytes = {0, 0, static_cast<char>(type), static_cast<char>(shape.size())};
  for (const uint32_t size : shape) bytes += big_endian(size);
  return bytes + data;
}

template <class T>
std::vector<T> values(const Tensor& x) {
  return {x.data<T>(), x.data<T>() + x.numel()};
}

/// The message that reading these bytes ends in; "read" when it does not.
template <class Read>
std::string outcome(const std::string& bytes, Read read) {
  static const Scratch scratch;
  const std::string path = write_file(scratch / "file", bytes);
  try {
    read(path);
    return "read";
  } catch (const IoError& error) {
    CHECK_THAT(error.what(), ContainsSubstring(path));
    return error.what();
  }
}
const auto load_idx = [](const std::string& path) { return data::read_idx(path); };
const auto load_npy = [](const std::string& path) { return data::load_npy(path); };
const auto load_npz = [](const std::string& path) { return data::load_npz(path); };
const auto load_csv = [](const std::string& path) { return data::read_csv(path); };

/// Every file that is cut, or has a few changed bytes, is read or refused, within memory for a small file.
template <class Read>
void mistreat(const std::string& whole, Read read, bool cuts_are_errors = true) {
  [[maybe_unused]] rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::string result = outcome(whole.substr(0, length), read);
    INFO("cut to " << length);
    if (cuts_are_errors) CHECK(result != "read");
  }
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string changed = whole;
    for (int i = 0; i < 1 + round % 3; ++i) changed[random() % changed.size()] = static_cast<char>(random());
    outcome(changed, read);
  }
#ifndef __SANITIZE_ADDRESS__  // which keeps freed memory for a while
  getrusage(RUSAGE_SELF, &after);
  CHECK(after.ru_maxrss - before.ru_maxrss < 64 << 10);  // KiB
#endif
}

bool same_bits(const Tensor& x, const Tensor& y) {
  return x.dtype() == y.dtype() && x.shape() == y.shape() &&
         (x.numel() == 0 || std::memcmp(x.raw_data(), y.raw_data(), static_cast<size_t>(x.nbytes())) == 0);
}

/// Sets an environment variable for a scope.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    setenv(name, value.c_str(), 1);
  }
  ~Environment() { old_.empty() ? unsetenv(name_) : setenv(name_, old_.c_str(), 1); }

 private:
  const char* name_;
  std::string old_;
};

}  // namespace

TEST_CASE("IDX: every element type, plain and gzip, rank 0 and empty") {
  const Scratch scratch;
  const auto read = [&](const std::string& bytes) {
    const Tensor plain = data::read_idx(write_file(scratch / "plain", bytes));
    CHECK(same_bits(data::read_idx(write_file(scratch / "packed.gz", gzip(bytes))), plain));
    return plain;
  };
  CHECK(values<uint8_t>(read(idx(0x08, {3}, "\x01\x02\xff"))) == std::vector<uint8_t>{1, 2, 255});
  CHECK(values<int32_t>(read(idx(0x09, {2}, "\x01\xff"))) == std::vector<int32_t>{1, -1});
  CHECK(values<int32_t>(read(idx(0x0b, {2}, big_endian<int16_t>(-2) + big_endian<int16_t>(300)))) ==
        std::vector<int32_t>{-2, 300});
  CHECK(values<int32_t>(read(idx(0x0c, {1, 1}, big_endian<int32_t>(-70000)))) == std::vector<int32_t>{-70000});
  CHECK(values<float>(read(idx(0x0d, {2}, big_endian(1.5f) + big_endian(-2.f)))) == std::vector<float>{1.5f, -2});
  CHECK(values<double>(read(idx(0x0e, {1}, big_endian(0.1)))) == std::vector<double>{0.1});
  CHECK(read(idx(0x08, {}, "\x07")).item<int64_t>() == 7);
  CHECK(read(idx(0x0d, {0, 5}, "")).shape() == Shape({0, 5}));
}

TEST_CASE("IDX: hostile files") {
  CHECK_THAT(outcome("", load_idx), ContainsSubstring("ends inside the magic number"));
  CHECK_THAT(outcome("\1\0\x08\1" + big_endian(1u) + "a", load_idx), ContainsSubstring("no IDX file"));
  CHECK_THAT(outcome(idx(0x07, {1}, "a"), load_idx), ContainsSubstring("type 0x07"));
  CHECK_THAT(outcome(idx(0x08, std::vector<uint32_t>(9, 1), "a"), load_idx), ContainsSubstring("9 dims"));
  CHECK_THAT(outcome(idx(0x08, {~0u}, "a"), load_idx), ContainsSubstring("more than the file can hold"));
  CHECK_THAT(outcome(idx(0x08, {~0u, ~0u, ~0u}, "a"), load_idx), ContainsSubstring("64 bits"));
  CHECK_THAT(outcome(idx(0x09, {~0u}, "a"), load_idx), ContainsSubstring("more than the file can hold"));
  CHECK_THAT(outcome(idx(0x08, {1u << 31, 1u << 31, 4, 0}, ""), load_idx), ContainsSubstring("64 bits"));
  CHECK_THAT(outcome(idx(0x08, {2}, "abc"), load_idx), ContainsSubstring("bytes behind the data"));
  CHECK_THAT(outcome(gzip(idx(0x08, {1u << 31}, "a")), load_idx), ContainsSubstring("more than the file can hold"));
  CHECK_THAT(outcome(gzip(idx(0x08, {100}, "a")), load_idx), ContainsSubstring("ends inside the data"));
  mistreat(idx(0x0c, {2, 3}, std::string(24, 'x')), load_idx);
  mistreat(gzip(idx(0x08, {5}, "abcde")), load_idx);
}

TEST_CASE("Fashion-MNIST from a folder: plain or gzip, and each thing that can be wrong with it") {
  const Scratch scratch;
  const Environment folder("GRADUS_DATA", scratch.path());
  const std::string images = idx(0x08, {2, 28, 28}, std::string(784, '\0') + std::string(784, '\xff'));
  write_file(scratch / "train-images-idx3-ubyte.gz", gzip(images));
  write_file(scratch / "train-labels-idx1-ubyte", idx(0x08, {2}, "\x09\x03"));
  const data::TensorDataset set = data::fashion_mnist("train");
  CHECK(set.inputs().shape() == Shape({2, 1, 28, 28}));
  CHECK(set.inputs().dtype() == uint8);
  CHECK(values<int64_t>(set.targets()) == std::vector<int64_t>{9, 3});
  CHECK(set.classes()[9] == "Ankle boot");
  const data::Example one = set.get(1);
  CHECK(one.input.shape() == Shape({1, 28, 28}));
  CHECK(one.input.data<float>()[5] == Approx((1 - 0.2860) / 0.3530));
  CHECK_THROWS_WITH(data::fashion_mnist("test"), ContainsSubstring("t10k-images-idx3-ubyte"));
  CHECK_THROWS_AS(data::fashion_mnist("validation"), ValueError);
  const auto labels = [&](const std::string& bytes) {
    write_file(scratch / "train-labels-idx1-ubyte", bytes);
    data::mnist("train", scratch.path());
  };
  CHECK_THROWS_WITH(labels(idx(0x08, {3}, "abc")), ContainsSubstring("want uint8[2]"));
  CHECK_THROWS_WITH(labels(idx(0x08, {2}, "\x01\x0a")), ContainsSubstring("label 1 is 10"));
  labels(idx(0x08, {2}, "\x01\x02"));
  write_file(scratch / "train-images-idx3-ubyte", idx(0x08, {2, 2}, "abcd"));
  CHECK_THROWS_WITH(data::mnist("train", scratch.path()), ContainsSubstring("want uint8[N, 28, 28]"));
}

TEST_CASE("Fashion-MNIST of Debian's package, when it is there") {
  data::TensorDataset* train = nullptr;
  try {
    static data::TensorDataset loaded = data::fashion_mnist("train");
    train = &loaded;
  } catch (const IoError& error) {
    CHECK_THAT(error.what(), ContainsSubstring("apt-get install dataset-fashion-mnist"));
    fmt::print("SKIPPED Fashion-MNIST: {}\n", error.what());
    return;
  }
  CHECK(train->size() == 60000);
  CHECK(values<int64_t>(train->targets().slice(0, 0, 5)) == std::vector<int64_t>{9, 0, 0, 3, 0});
  std::vector<int64_t> all(20000);
  for (int64_t i = 0; i < 20000; ++i) all[static_cast<size_t>(i)] = i;
  const Tensor x = train->batch(all).input;
  CHECK(mean(x).item<double>() == Approx(0).margin(0.01));
  CHECK(stddev(x).item<double>() == Approx(1).margin(0.01));
}

TEST_CASE("synthetic glyphs are a function of their seed, and standardised") {
  const data::TensorDataset set = data::synthetic_glyphs(2000, 1), same = data::synthetic_glyphs(2000, 1),
                            other = data::synthetic_glyphs(2000, 2);
  CHECK(same_bits(set.inputs(), same.inputs()));
  CHECK(same_bits(set.targets(), same.targets()));
  CHECK_FALSE(same_bits(set.inputs(), other.inputs()));
  CHECK(same_bits(data::synthetic_glyphs(10, 1).inputs(), set.inputs().slice(0, 0, 10)));
  std::map<int64_t, int> counts;
  for (const int64_t digit : values<int64_t>(set.targets())) ++counts[digit];
  CHECK(counts.size() == 10);
  for (const auto& [digit, count] : counts) CHECK(std::abs(count - 200) < 5 * std::sqrt(2000 * 0.1 * 0.9));
  std::vector<int64_t> all(2000);
  for (int64_t i = 0; i < 2000; ++i) all[static_cast<size_t>(i)] = i;
  const Tensor x = set.batch(all).input;
  CHECK(mean(x).item<double>() == Approx(0).margin(0.05));
  CHECK(stddev(x).item<double>() == Approx(1).margin(0.05));
  CHECK(data::synthetic_glyphs(0, 1).size() == 0);
  CHECK_THROWS_AS(data::synthetic_glyphs(-1, 1), ValueError);
}

TEST_CASE("CIFAR: records of labels and planes") {
  const Scratch scratch;
  const auto record = [](const std::string& labels, char pixel) { return labels + std::string(3072, pixel); };
  for (int i = 1; i <= 5; ++i)
    write_file(scratch / fmt::format("data_batch_{}.bin", i), record(std::string(1, static_cast<char>(i)), 'x'));
  write_file(scratch / "test_batch.bin", record("\x07", '\0') + record("\x02", '\xff'));
  const data::TensorDataset train = data::cifar10("train", scratch.path()),
                            test = data::cifar10("test", scratch.path());
  CHECK(values<int64_t>(train.targets()) == std::vector<int64_t>{1, 2, 3, 4, 5});
  CHECK(test.inputs().shape() == Shape({2, 3, 32, 32}));
  CHECK(test.classes()[7] == "horse");
  CHECK(test.get(1).input.data<float>()[2 * 1024] == Approx((1 - 0.4465) / 0.2616));
  write_file(scratch / "test.bin", record(std::string("\x13\x63", 2), 'x'));
  CHECK(values<int64_t>(data::cifar100("test", scratch.path()).targets()) == std::vector<int64_t>{99});
  CHECK(data::cifar100("test", scratch.path()).classes().empty());
  std::string names;
  for (int i = 0; i < 100; ++i) names += fmt::format("class{}\n", i);
  write_file(scratch / "fine_label_names.txt", names + "\n");
  CHECK(data::cifar100("test", scratch.path()).classes()[99] == "class99");
  write_file(scratch / "test_batch.bin", record("\x0a", 'x'));
  CHECK_THROWS_WITH(data::cifar10("test", scratch.path()), ContainsSubstring("label 0 is 10"));
  write_file(scratch / "test_batch.bin", record("\x01", 'x') + "y");
  CHECK_THROWS_WITH(data::cifar10("test", scratch.path()), ContainsSubstring("whole number of records"));
  CHECK_THROWS_AS(data::cifar10("test", scratch / "no"), IoError);
  CHECK_THROWS_AS(data::cifar10("train ", scratch.path()), ValueError);
}

TEST_CASE("CSV: RFC 4180, its freedoms, and numbers of all kinds") {
  const Scratch scratch;
  const auto read = [&](const std::string& text, const data::CsvOptions& options = {}) {
    return data::read_csv(write_file(scratch / "t.csv", text), options);
  };
  const data::CsvTable plain = read("a,b\r\n1,2\r\n3,4.5\r\n");
  CHECK(plain.columns == std::vector<std::string>{"a", "b"});
  CHECK(plain.values.shape() == Shape({2, 2}));
  CHECK(values<double>(plain.values) == std::vector<double>{1, 2, 3, 4.5});
  CHECK(values<double>(read("a\n1").values) == std::vector<double>{1});  // no end of the last line
  CHECK(values<double>(read("\xef\xbb\xbf"
                            "a\n1\n\n\n2\n\n")
                           .values) == std::vector<double>{1, 2});
  CHECK(read("a,b\n").values.shape() == Shape({0, 2}));
  const data::CsvTable quoted = read("\"x, \"\"y\"\"\nz\",b\n\"1\",\" 2 \"\n");
  CHECK(quoted.columns[0] == "x, \"y\"\nz");
  CHECK(values<double>(quoted.values) == std::vector<double>{1, 2});
  const std::vector<double> numbers = values<double>(read("a\n+1e3\n -0.5\t\n1E-300\n.5\n5.\ninf\n-infinity\n").values);
  CHECK(numbers[0] == 1000);
  CHECK(numbers[1] == -0.5);
  CHECK(numbers[2] == 1e-300);
  CHECK(std::isinf(numbers[5]));
  CHECK(std::isnan(values<double>(read("a\nnan\n").values)[0]));
  CHECK(values<double>(read("1;2\n3;4\n", {.separator = ';', .header = false}).values).size() == 4);
  CHECK(read("1;2\n", {.separator = ';', .header = false}).columns == std::vector<std::string>{"0", "1"});
  CHECK(values<double>(read("# made by\n#\na\n7\n", {.skip_rows = 2}).values) == std::vector<double>{7});
  CHECK(values<double>(read("name,x,y\nfoo,1,2\nbar,3,4\n", {.columns = {"y", "x"}}).values) ==
        std::vector<double>{2, 1, 4, 3});
  CHECK(values<double>(data::read_csv(write_file(scratch / "t.csv.gz", gzip("a\n5\n"))).values) ==
        std::vector<double>{5});
}

TEST_CASE("CSV: what is wrong is named by line and column") {
  CHECK_THAT(outcome("", load_csv), ContainsSubstring("no rows"));
  CHECK_THAT(outcome("a,b\n1,2\n3\n", load_csv), ContainsSubstring("line 3 has 1 cells; want 2"));
  CHECK_THAT(outcome("a,b\n1,2\n3,x\n", load_csv), ContainsSubstring("line 3, column 'b': 'x' is no number"));
  CHECK_THAT(outcome("a,b\n1,\n", load_csv), ContainsSubstring("'' is no number"));
  for (const char* cell : {"1e999", "1e-999", "0x10", "1,5", "--1", "+-1", "1 2", "1e", "e5", "nanx"})
    CHECK(outcome(std::string("a\n\"") + cell + "\"\n", load_csv) != "read");
  CHECK_THAT(outcome("a\n\"1\n", load_csv), ContainsSubstring("line 2: a quote has no end"));
  CHECK_THAT(outcome("a\n\"1\"2\n", load_csv), ContainsSubstring("text behind the quote"));
  CHECK_THAT(outcome("a\n1\r2\n", load_csv), ContainsSubstring("carriage return"));
  CHECK_THAT(outcome("a\n" + std::string((1 << 20) + 1, '1'), load_csv), ContainsSubstring("more than 1048576 bytes"));
  CHECK_THAT(outcome(std::string((1 << 20) + 1, ','), load_csv), ContainsSubstring("more than 1048576 cells"));
  CHECK_THAT(outcome("\xef\xbb"
                     "a\n1\n",
                     load_csv),
             ContainsSubstring("byte order mark"));
  const auto columns = [](const std::string& path) { return data::read_csv(path, {.columns = {"a"}}); };
  CHECK_THAT(outcome("b,c\n1,2\n", columns), ContainsSubstring("no column 'a'; there are: b, c"));
  CHECK_THAT(outcome("a,a\n1,2\n", columns), ContainsSubstring("two columns 'a'"));
  CHECK_THROWS_AS(data::read_csv("t.csv", {.separator = '"'}), ValueError);
  CHECK_THROWS_AS(data::read_csv("t.csv", {.skip_rows = -1}), ValueError);
  mistreat("a,\"b\"\n1,2.5\n-3,\"4\"\n", load_csv, false);
}

TEST_CASE("CSV: what is printed is read, for tables of every size") {
  const Scratch scratch;
  std::mt19937_64 random(1);
  for (const Shape& shape : {Shape{0, 1}, Shape{1, 1}, Shape{3, 1}, Shape{1, 4}, Shape{20, 7}}) {
    const Tensor x = empty(shape, {.dtype = float64});
    std::string text;
    for (int64_t c = 0; c < shape[1]; ++c) text += fmt::format("{}\"c{}\"", c ? "," : "", c);
    for (int64_t i = 0; i < x.numel(); ++i) {
      double value = 0;
      do {
        const uint64_t bits = random();
        std::memcpy(&value, &bits, sizeof value);
      } while (!std::isfinite(value));
      x.mutable_data<double>()[i] = value;
      text += fmt::format("{}{}", i % shape[1] ? "," : "\n", value);
    }
    CHECK(same_bits(data::read_csv(write_file(scratch / "t", text)).values, x));
  }
}

TEST_CASE("CSV as a data set") {
  const Scratch scratch;
  const std::string path = write_file(scratch / "t", "x,class,y\n1,2,3\n4,0,6\n");
  const data::TensorDataset set = data::read_csv_dataset(path, "class");
  CHECK(values<float>(set.inputs()) == std::vector<float>{1, 3, 4, 6});
  CHECK(values<int64_t>(set.targets()) == std::vector<int64_t>{2, 0});
  const data::TensorDataset numbers = data::read_csv_dataset(path, "y", {.columns = {"x"}}, float32);
  CHECK(values<float>(numbers.inputs()) == std::vector<float>{1, 4});
  CHECK(values<float>(numbers.targets()) == std::vector<float>{3, 6});
  CHECK_THROWS_WITH(data::read_csv_dataset(path, "z"), ContainsSubstring("no column 'z'"));
  CHECK_THROWS_AS(data::read_csv_dataset(path, "x", {}, float64), DtypeError);
  write_file(path, "x,class\n1,0.5\n");
  CHECK_THROWS_WITH(data::read_csv_dataset(path, "class"), ContainsSubstring("a class is an integer"));
}

TEST_CASE("text is read as it is, or inflated; a file cut short is an error") {
  const Scratch scratch;
  std::string text = std::string("In the beginning\0\xff\n", 19);
  for (int i = 0; i < 20'000; ++i) text += std::to_string(i * i);
  CHECK(data::read_text(write_file(scratch / "t", text)) == text);
  CHECK(data::read_text(write_file(scratch / "t.gz", gzip(text))) == text);
  CHECK(data::read_text(write_file(scratch / "empty", "")).empty());
  const std::string packed = gzip(text);
  CHECK_THROWS_WITH(data::read_text(write_file(scratch / "cut.gz", packed.substr(0, packed.size() - 9))),
                    ContainsSubstring("cut.gz"));
  std::string damaged = packed;
  damaged[packed.size() / 2] ^= 1;
  CHECK_THROWS_AS(data::read_text(write_file(scratch / "damaged.gz", damaged)), IoError);
  CHECK_THROWS_AS(data::read_text(scratch / "absent"), IoError);
  CHECK_THROWS_AS(data::read_text(scratch.path()), IoError);
}

TEST_CASE("the King James Bible of Debian's packages, when they are there") {
  try {
    const std::string text = data::king_james_bible();
    CHECK(text.starts_with("In the beginning God created the heaven and the earth.\n"));
    CHECK(std::count(text.begin(), text.end(), '\n') == 31102);
    CHECK(text.size() == 4137850);
    CHECK(text.find("Ge1:") == std::string::npos);
  } catch (const IoError& error) {
    CHECK_THAT(error.what(), ContainsSubstring("apt-get install bible-kjv bible-kjv-text"));
    fmt::print("SKIPPED the King James Bible: {}\n", error.what());
  }
}

TEST_CASE("npy: what is saved is loaded, for every dtype and kind of shape") {
  const Scratch scratch;
  std::mt19937 random(3);
  NamedTensors all;
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{5}, Shape{2, 0, 3}, Shape{2, 3}, Shape{1, 2, 1, 2, 1, 2, 1, 2}}) {
    for (const Dtype dtype : {float32, float64, float16, int32, int64, uint8, boolean}) {
      const Tensor x = empty(shape, {.dtype = dtype});
      auto* bytes = static_cast<uint8_t*>(x.mutable_raw_data());
      for (int64_t i = 0; i < x.nbytes(); ++i)
        bytes[i] = static_cast<uint8_t>(dtype == boolean ? random() & 1 : random());
      INFO(fmt::format("{}{}", dtype, shape));
      data::save_npy(scratch / "x.npy", x);
      CHECK(same_bits(data::load_npy(scratch / "x.npy"), x));
      CHECK(read_file(scratch / "x.npy").size() % 64 == static_cast<size_t>(x.nbytes()) % 64);
      all.push_back({fmt::format("array {}", all.size()), x});
    }
  }
  const Tensor turned = arange(6).reshape({2, 3}).t();
  data::save_npy(scratch / "t.npy", turned);
  CHECK(same_bits(data::load_npy(scratch / "t.npy"), turned.contiguous()));
  data::save_npz(scratch / "all.npz", all);
  const NamedTensors loaded = data::load_npz(scratch / "all.npz");
  REQUIRE(loaded.size() == all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    CHECK(loaded[i].name == all[i].name);
    CHECK(same_bits(loaded[i].tensor, all[i].tensor));
  }
  data::save_npz(scratch / "none.npz", {});
  CHECK(data::load_npz(scratch / "none.npz").empty());
  CHECK_THROWS_AS(data::save_npy(scratch / "b.npy", zeros({1}, {.dtype = bfloat16})), DtypeError);
  CHECK_THROWS_AS(data::save_npy(scratch / "b.npy", Tensor()), Error);
  CHECK_THROWS_WITH(data::save_npz(scratch / "b.npz", {{"a", zeros({1})}, {"a", zeros({1})}}),
                    ContainsSubstring("'a' comes twice"));
  CHECK_FALSE(std::filesystem::exists(scratch / "b.npz"));
}

namespace {

std::string npy(const std::string& header, const std::string& data, int version = 1) {
  const std::string length =
      version == 1 ? bytes_of(static_cast<uint16_t>(header.size())) : bytes_of(static_cast<uint32_t>(header.size()));
  return std::string("\x93NUMPY") + static_cast<char>(version) + std::string(1, '\0') + length + header + data;
}
std::string described(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': ({}), }}   \n", descr, order, shape);
}

}  // namespace

TEST_CASE("npy: versions, byte orders, Fortran order, keys in any order") {
  const Scratch scratch;
  const auto read = [&](const std::string& bytes) { return data::load_npy(write_file(scratch / "x.npy", bytes)); };
  for (const int version : {1, 2, 3})
    CHECK(values<float>(read(npy(described("<f4", "2,"), bytes_of(1.f) + bytes_of(2.f), version))) ==
          std::vector<float>{1, 2});
  CHECK(values<int32_t>(read(npy(described(">i4", "1,"), big_endian<int32_t>(-5)))) == std::vector<int32_t>{-5});
  CHECK(values<uint8_t>(read(npy(described("|u1", "2, 3", "True"), "abcdef"))) ==
        std::vector<uint8_t>{'a', 'c', 'e', 'b', 'd', 'f'});
  CHECK(read(npy(described("|b1", ""), "\1")).shape() == Shape({}));
  CHECK(values<uint8_t>(read(npy("{\"shape\":(1,),\"descr\":\"|u1\",\"fortran_order\":False}", "z"))) ==
        std::vector<uint8_t>{'z'});
}

TEST_CASE("npy: hostile files") {
  const auto header = [](const std::string& text) { return outcome(npy(text, "abcd"), load_npy); };
  CHECK_THAT(outcome("NUMPY", load_npy), ContainsSubstring("ends inside the magic text"));
  CHECK_THAT(outcome("PKNUMPY\1\0", load_npy), ContainsSubstring("magic text is missing"));
  CHECK_THAT(outcome(npy(described("|u1", "4"), "abcd", 4), load_npy), ContainsSubstring("version 4.0"));
  CHECK_THAT(header(described("|u1", "4611686018427387904, 4, 2")), ContainsSubstring("64 bits"));
  CHECK_THAT(header(described("|u1", "4611686018427387904, 4, 0")), ContainsSubstring("64 bits"));
  CHECK_THAT(header(described("|u1", "1000000000000,")), ContainsSubstring("more than the file can hold"));
  CHECK_THAT(header(described("|u1", "99999999999999999999,")), ContainsSubstring("2^63"));
  CHECK_THAT(header(described("|u1", "1,1,1,1,1,1,1,1,4")), ContainsSubstring("8 dims"));
  CHECK_THAT(header(described("|u1", "-4,")), ContainsSubstring("want a size"));
  CHECK_THAT(header(described("|u1", "4 4")), ContainsSubstring("want ','"));
  CHECK_THAT(header(described("|u1", "3,")), ContainsSubstring("bytes behind the data"));
  CHECK_THAT(header(described("|u1", "5,")), ContainsSubstring("more than the file can hold"));
  CHECK_THAT(header(described("|b1", "4,")), ContainsSubstring("boolean"));
  for (const char* descr : {"<i2", "<c8", "|O", "<U4", "<V2", "f4", "", "<", "|f4", "?f4"})
    CHECK_THAT(header(described(descr, "1,")), ContainsSubstring("Gradus has none such"));
  CHECK_THAT(header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }"),
             ContainsSubstring("structured"));
  CHECK_THAT(header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}"),
             ContainsSubstring("comes twice"));
  CHECK_THAT(header("{'descr': '<f4', 'shape': (1,)}"), ContainsSubstring("want descr"));
  CHECK_THAT(header("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}"), ContainsSubstring("True or False"));
  CHECK_THAT(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x"), ContainsSubstring("text behind"));
  CHECK_THAT(header("__import__('os')"), ContainsSubstring("want '{'"));
  CHECK_THAT(header("{'descr"), ContainsSubstring("no end"));
  mistreat(npy(described("<f4", "2, 1"), bytes_of(1.f) + bytes_of(2.f)), load_npy);
}

namespace {

struct Member {
  std::string name, bytes, packed;
  uint16_t method = 0, flags = 0;
  uint32_t size, crc;
  Member(std::string file_name, std::string content, bool deflated = false)
      : name(std::move(file_name)),
        bytes(std::move(content)),
        packed(deflated ? deflate_raw(bytes) : bytes),
        method(deflated ? 8 : 0),
        size(static_cast<uint32_t>(bytes.size())),
        crc(static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), size))) {}
};

/// An archive; members may all be said to lie where the first one does.
std::string archive(const std::vector<Member>& members, bool overlapping = false, const std::string& comment = "") {
  std::string file, directory;
  for (const Member& m : members) {
    const auto place = static_cast<uint32_t>(overlapping ? 0 : file.size());
    const std::string common = bytes_of(m.flags) + bytes_of(m.method) + bytes_of(uint32_t{0}) + bytes_of(m.crc) +
                               bytes_of(static_cast<uint32_t>(m.packed.size())) + bytes_of(m.size) +
                               bytes_of(static_cast<uint16_t>(m.name.size())) + bytes_of(uint16_t{0});
    if (!overlapping || file.empty()) file += "PK\3\4" + bytes_of(uint16_t{20}) + common + m.name + m.packed;
    directory += "PK\1\2" + bytes_of(uint32_t{20}) + common + std::string(10, '\0') + bytes_of(place) + m.name;
  }
  const auto count = bytes_of(static_cast<uint16_t>(members.size()));
  return file + directory + "PK\5\6" + bytes_of(uint32_t{0}) + count + count +
         bytes_of(static_cast<uint32_t>(directory.size())) + bytes_of(static_cast<uint32_t>(file.size())) +
         bytes_of(static_cast<uint16_t>(comment.size())) + comment;
}

}  // namespace

TEST_CASE("npz: stored and deflated members, and hostile archives") {
  const Scratch scratch;
  const std::string array = npy(described("|u1", "4,"), "abcd");
  const NamedTensors loaded = data::load_npz(write_file(
      scratch / "a.npz", archive({{"x.npy", array}, {"../y.npy", array, true}}, false, "a comment with PK in it")));
  REQUIRE(loaded.size() == 2);
  CHECK(loaded[0].name == "x");
  CHECK(loaded[1].name == "../y");  // a name like any other
  CHECK(same_bits(loaded[0].tensor, loaded[1].tensor));

  const auto with = [&](auto change) {
    Member m("x.npy", array, true);
    change(m);
    return outcome(archive({m}), load_npz);
  };
  CHECK_THAT(outcome("", load_npz), ContainsSubstring("no ZIP directory"));
  CHECK_THAT(outcome(array, load_npz), ContainsSubstring("no ZIP directory"));
  CHECK_THAT(with([](Member& m) { m.name = "x.txt"; }), ContainsSubstring("'x.txt' is no .npy array"));
  CHECK_THAT(with([](Member& m) { m.crc ^= 1; }), ContainsSubstring("CRC-32"));
  CHECK_THAT(with([](Member& m) { m.flags = 1; }), ContainsSubstring("encrypted"));
  CHECK_THAT(with([](Member& m) { m.method = 12; }), ContainsSubstring("method 12"));
  CHECK_THAT(with([](Member& m) { m.size = 1u << 31; }), ContainsSubstring("more than its data can hold"));
  CHECK_THAT(with([](Member& m) { m.size -= 1; }), ContainsSubstring("damaged"));
  CHECK_THAT(with([](Member& m) { m.size += 1; }), ContainsSubstring("damaged"));
  CHECK_THAT(with([](Member& m) { m.size = ~0u; }), ContainsSubstring("4 GB"));
  CHECK_THAT(outcome(archive({{"x.npy", array}, {"x.npy", array}}), load_npz), ContainsSubstring("comes twice"));
  std::string crowded = archive({{"x.npy", array}});
  crowded.replace(crowded.rfind("PK\5\6") + 8, 4, 4, '\xff');
  CHECK_THAT(outcome(crowded, load_npz), ContainsSubstring("too small for 65535 members"));
  std::vector<Member> bomb;
  for (int i = 0; i < 100; ++i) bomb.emplace_back(fmt::format("{}.npy", i), std::string(1 << 20, 'x'), true);
  CHECK_THAT(outcome(archive(bomb, true), load_npz), ContainsSubstring("more than the file"));
  CHECK_THAT(outcome(archive({{"x.npy", array + "y"}}), load_npz), ContainsSubstring("bytes behind the data"));
  mistreat(archive({{"x.npy", array}, {"y.npy", array, true}}), load_npz);
}
