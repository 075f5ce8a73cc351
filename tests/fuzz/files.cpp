// The parsers of files: tensors, tables, pictures, text, checkpoints.
#include <zlib.h>

#include <memory>

#include "../scratch.h"
#include "engine.h"

#include <gradus/fmt.h>
#include <gradus/gradus.h>

using namespace gradus;
using namespace std::literals;

namespace fuzz {
namespace {

/// No deflated stream expands further (zlib's technical notes).
int64_t inflated(const std::string& bytes) { return 1032 * std::ssize(bytes); }
int64_t inflated_archive(const std::string& bytes) {
  const bool is_deflated = bytes.find("\0\0\10\0"sv) != bytes.npos;  // no flags, method 8
  return is_deflated ? inflated(bytes) : std::ssize(bytes);
}
/// A separator alone makes a cell, and a column has a name: strings of 32 bytes.
int64_t table_and_cells(const std::string& bytes) {
  int64_t widest = 0, cells = 0;
  for (const char c : bytes) widest = std::max(widest, cells = c == '\n' ? 0 : cells + (c == ','));
  return std::ssize(bytes) + 16 * widest;
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (; times > 0; --times) all += text;
  return all;
}

std::string gzip(const std::string& bytes) {
  const Scratch scratch;
  gzFile file = gzopen((scratch / "z").c_str(), "wb9");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  return read_file(scratch / "z");
}

/// An archive of one array, compressed as numpy.savez_compressed does it.
std::string deflated_npz(const std::string& array) {
  const std::string packed = gzip(array), data = packed.substr(10, packed.size() - 18), name = "x.npy";
  const std::string common =
      bytes_of(uint16_t{0}) + bytes_of(uint16_t{8}) + bytes_of(uint32_t{0}) +
      bytes_of(static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(array.data()), array.size()))) +
      bytes_of(static_cast<uint32_t>(data.size())) + bytes_of(static_cast<uint32_t>(array.size())) +
      bytes_of(uint16_t{5}) + bytes_of(uint16_t{0});
  const std::string member = "PK\3\4" + bytes_of(uint16_t{20}) + common + name + data;
  const std::string directory = "PK\1\2" + bytes_of(uint32_t{20}) + common + std::string(14, '\0') + name;
  return member + directory + "PK\5\6" + bytes_of(uint32_t{0}) + bytes_of(uint16_t{1}) + bytes_of(uint16_t{1}) +
         bytes_of(static_cast<uint32_t>(directory.size())) + bytes_of(static_cast<uint32_t>(member.size())) +
         bytes_of(uint16_t{0});
}

std::string idx(char type, const std::vector<uint32_t>& shape, const std::string& data) {
  std::string bytes = {0, 0, type, static_cast<char>(shape.size())};
  for (const uint32_t size : shape) bytes += big_endian(size);
  return bytes + data;
}

/// The files that `write` makes at a path, one for each of the things given.
template <class Thing, class Write>
std::vector<std::string> written(const std::vector<Thing>& things, Write write) {
  const Scratch scratch;
  std::vector<std::string> files;
  for (const Thing& thing : things) {
    write(scratch / "file", thing);
    files.push_back(read_file(scratch / "file"));
  }
  return files;
}

/// A parser that is given the path of a file.
template <class Read>
Parser of_file(std::string name, std::vector<std::string> seeds, Read read) {
  const auto scratch = std::make_shared<Scratch>();
  return {std::move(name), std::move(seeds),
          [scratch, read](const std::string& bytes) { read(write_file(*scratch / "file", bytes)); }};
}

Parser deflated(Parser parser, int64_t (*stands_for)(const std::string& bytes) = inflated) {
  parser.stands_for = stands_for;
  return parser;
}
Parser with_samples(Parser parser, std::vector<std::string> samples) {
  parser.samples = std::move(samples);
  return parser;
}

Parser as_table(Parser parser, std::vector<std::string> samples) {
  parser.stands_for = table_and_cells;
  return with_samples(std::move(parser), std::move(samples));
}

/// One that is given a folder, in which the file has that name.
template <class Read>
Parser in_folder(std::string name, const std::string& file, std::vector<std::string> seeds, Read read) {
  const auto scratch = std::make_shared<Scratch>();
  return {std::move(name), std::move(seeds), [scratch, file, read](const std::string& bytes) {
            write_file(*scratch / file, bytes);
            read(*scratch);
          }};
}

std::vector<NamedTensors> some_tensors() {
  NamedTensors many;
  for (int i = 0; i < 40; ++i) many.push_back({fmt::format("layer{}.weight", i), ones({i % 3, 2})});
  return {{{"a", ones({2, 3})}, {"b\"\xc3\xa4", arange(5)}},
          {{"half", ones({3}, {.dtype = float16})}, {"flags", ones({4}, {.dtype = boolean})}, {"one", ones({})}},
          {{"empty", zeros({0, 7})}},
          many};
}

// ---- checkpoints

/// A number as the last line of a manifest, or the entry of a file, has it.
std::string crc_text(const std::string& bytes) {
  return fmt::format("{:08x}", crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}
/// The text above its last line, with a last line that fits.
std::string signed_manifest(const std::string& above) {
  return above + "  \"crc32\": \"" + crc_text(above) + "\"\n}\n";
}

struct Net : Stateful {
  NamedTensors entries{{"w", ones({4, 5})}, {"b", ones({3})}};
  const char* state_name() const override { return "model"; }
  NamedTensors state_dict() const override { return entries; }
  void load_state_dict(const NamedTensors& state) override {
    for (const NamedTensor& entry : entries) {
      const Tensor x = find(state, entry.name);
      if (!x.defined()) throw CheckpointError("model: missing " + entry.name);
      entry.tensor.copy_(x);
    }
  }
};

/// A whole checkpoint, which is then damaged in one place, with checksums that fit all the same.
struct Checkpoint {
  Checkpoint() {
    Net net;
    data::Checkpointer checkpoints(folder.path(), {.async = false, .signals = false});
    checkpoints.save(1, net);
    share = read_file(share_path);
    manifest = read_file(manifest_path);
    above = manifest.substr(0, manifest.rfind("  \"crc32\""));
  }
  void read() const {
    Net net;
    data::Checkpointer checkpoints(folder.path(), {.async = false, .signals = false});
    checkpoints.resume(net);
  }
  const Scratch folder;
  const std::string path = folder / "step-00000001", manifest_path = path + "/manifest.json",
                    share_path = path + "/rank-00000-of-00001.safetensors";
  std::string manifest, above, share;
};

Parser manifests() {
  const auto checkpoint = std::make_shared<Checkpoint>();
  return {"checkpoint manifest", {checkpoint->above}, [checkpoint](const std::string& above) {
            write_file(checkpoint->manifest_path, signed_manifest(above));
            checkpoint->read();
          }};
}

Parser shares() {
  const auto checkpoint = std::make_shared<Checkpoint>();
  return {"checkpoint share", {checkpoint->share}, [checkpoint](const std::string& share) {
            std::string above = checkpoint->above;
            const size_t size_at = above.find("\"size\": ") + 8, size_end = above.find(',', size_at);
            above.replace(size_at, size_end - size_at, std::to_string(share.size()));
            above.replace(above.find("\"crc32\": \"") + 10, 8, crc_text(share));
            write_file(checkpoint->share_path, share);
            write_file(checkpoint->manifest_path, signed_manifest(above));
            checkpoint->read();
          }};
}

}  // namespace

std::vector<Parser> file_parsers() {
  const auto save_safetensors = [](const std::string& path, const NamedTensors& tensors) {
    data::save_safetensors(path, tensors, {{"format", "pt"}, {"step", "7"}});
  };
  const std::vector<Tensor> arrays = {ones({2, 3}), arange(5), ones({}), zeros({0, 2}), ones({3}, {.dtype = boolean})};
  const std::vector<NamedTensors> archives = {{{"x", ones({2, 3})}, {"y/z", arange(4)}}, {}, {{"one", ones({})}}};
  std::vector<std::string> npz = written(archives, data::save_npz);
  npz.push_back(deflated_npz(written(arrays, data::save_npy)[0]));
  std::string many_members = npz[0];
  many_members.replace(many_members.rfind("PK\5\6") + 8, 4, 4, '\xff');
  const std::string table = "a,\"b\"\n1,2.5\n-3,\"4\"\n", picture = std::string(3072, 'x');
  const std::vector<std::string> arrays_of_bytes = {idx(8, {2, 3}, "abcdef"), idx(0x0c, {1, 2}, "abcdefgh"),
                                                    idx(0x0d, {}, "abcd"), idx(0x0e, {0, 3}, "")};
  const auto csv = [](const std::string& path) { data::read_csv(path); };
  const auto text = [](const std::string& path) { data::read_text(path); };
  const auto read_idx = [](const std::string& path) { data::read_idx(path); };
  std::vector<Parser> all = {
      of_file("safetensors", written(some_tensors(), save_safetensors),
              [](const std::string& path) { data::load_safetensors(path); }),
      of_file("npy", written(arrays, data::save_npy), [](const std::string& path) { data::load_npy(path); }),
      with_samples(
          deflated(of_file("npz", npz, [](const std::string& path) { data::load_npz(path); }), inflated_archive),
          {many_members}),
      of_file("IDX", arrays_of_bytes, read_idx),
      deflated(of_file("IDX, gzip", {gzip(arrays_of_bytes[0]), gzip(arrays_of_bytes[1])}, read_idx)),
      as_table(of_file("CSV",
                       {table, "a\n1\n",
                        "\xef\xbb\xbf"
                        "x,y\r\n+1e3, -0.5\r\n",
                        "a,b,c\n1,inf,nan\n"},
                       csv),
               {repeated("1\n", 500'000), repeated(",", 100'000)}),
      deflated(of_file("CSV, gzip", {gzip(table)}, csv)),
      as_table(of_file("CSV as a data set", {"x,class,y\n1,2,3\n4,0,6\n", "y,x,class\n"},
                       [](const std::string& path) {
                         data::read_csv_dataset(path, "class");
                         release_memory_cache();
                         data::read_csv_dataset(path, "class", {.columns = {"y", "x"}}, float32);
                       }),
               {"x,class\n" + repeated("1,2\n", 300'000)}),
      of_file("text", {"In the beginning\0\xff\n", ""}, text),
      deflated(of_file("text, gzip", {gzip("In the beginning"), gzip(std::string(5000, 'x'))}, text)),
      in_folder("CIFAR-10", "test_batch.bin", {"\3" + picture, "\1" + picture + "\7" + picture},
                [](const Scratch& folder) { data::cifar10("test", folder.path()); }),
      manifests(),
      shares()};

  const std::string images = idx(8, {2, 28, 28}, std::string(2 * 784, 'x')), labels = idx(8, {2}, "\1\2");
  const auto mnist = [&](std::string name, const char* file, const std::string& seed, const char* other_file,
                         const std::string& other) {
    return in_folder(std::move(name), file, {seed}, [other_file, other](const Scratch& folder) {
      write_file(folder / other_file, other);
      data::mnist("train", folder.path());
    });
  };
  const char *image_file = "train-images-idx3-ubyte", *label_file = "train-labels-idx1-ubyte";
  all.push_back(mnist("MNIST images", image_file, images, label_file, labels));
  all.push_back(mnist("MNIST labels", label_file, labels, image_file, images));
  std::string names;
  for (int i = 0; i < 100; ++i) names += fmt::format("class{}\n", i);
  all.push_back(in_folder("CIFAR-100 names", "fine_label_names.txt", {names}, [picture](const Scratch& folder) {
    write_file(folder / "test.bin", "\1\2" + picture);
    data::cifar100("test", folder.path());
  }));
  return all;
}

}  // namespace fuzz
