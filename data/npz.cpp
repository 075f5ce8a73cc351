// NumPy's .npz: a ZIP archive (PKWARE's APPNOTE) of .npy files. Names in it stay names; nothing is unpacked to disk.
#include <zlib.h>

#include <algorithm>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/data/detail/names.h>
#include <gradus/data/detail/npy.h>
#include <gradus/data/detail/output.h>
#include <gradus/data/detail/reader.h>
#include <gradus/data/readers.h>

namespace gradus::data {
namespace {

using detail::Reader;

constexpr uint32_t local_mark = 0x04034b50, entry_mark = 0x02014b50, end_mark = 0x06054b50, zip64 = 0xffffffff;
constexpr uint64_t local_bytes = 30, entry_bytes = 46, end_bytes = 22, longest_comment = 0xffff;
constexpr uint64_t deflate_ratio = 1032;
constexpr uint16_t version = 20;  // of the format: 2.0
constexpr size_t longest_name = 0xffff;
constexpr std::string_view ending = ".npy";

/// What the directory at the archive's end says of one member.
struct Member {
  std::string name;
  uint16_t method;  // 0 stored, 8 deflated
  uint32_t crc, packed, size, place;
};

/// Goes to the directory and returns how many members it has.
size_t seek_directory(Reader& file) {
  const uint64_t size = file.limit(), tail = std::min(size, end_bytes + longest_comment);
  file.seek(size - tail);
  const std::string text = file.text(tail, "the end of the archive");
  const size_t mark = text.rfind("PK\5\6");
  if (mark == std::string::npos || text.size() - mark < end_bytes)
    file.fail("no .npz file: no ZIP directory at its end");
  file.seek(size - tail + mark + 10);
  const auto members = file.little<uint16_t>("the number of members");
  const auto bytes = file.little<uint32_t>("the directory's size"),
             place = file.little<uint32_t>("the directory's place");
  if (place == zip64 || bytes == zip64) file.fail("is an archive of 4 GB or more, which Gradus does not read");
  if (uint64_t{place} + bytes > size) file.fail("the directory lies outside the file");
  if (members > bytes / entry_bytes) file.fail(fmt::format("the directory is too small for {} members", members));
  file.seek(place);
  return members;
}

Member read_entry(Reader& file) {
  if (file.little<uint32_t>("a directory entry") != entry_mark) file.fail("a directory entry is malformed");
  file.text(4, "a directory entry");  // versions
  const auto flags = file.little<uint16_t>("a directory entry");
  if (flags & 1) file.fail("is encrypted");
  Member m;
  m.method = file.little<uint16_t>("a directory entry");
  file.text(4, "a directory entry");  // time
  m.crc = file.little<uint32_t>("a checksum");
  m.packed = file.little<uint32_t>("a size");
  m.size = file.little<uint32_t>("a size");
  const auto name = file.little<uint16_t>("a directory entry"), extra = file.little<uint16_t>("a directory entry"),
             comment = file.little<uint16_t>("a directory entry");
  file.text(8, "a directory entry");  // disk, attributes
  m.place = file.little<uint32_t>("a place");
  m.name = file.text(name, "a name");
  file.text(uint64_t{extra} + comment, "a directory entry");
  if (m.packed == zip64 || m.size == zip64)
    file.fail(fmt::format("'{}' has 4 GB or more, which Gradus does not read", m.name));
  if (m.method != 0 && m.method != 8)
    file.fail(fmt::format("'{}' is compressed by method {}; want 0 or 8", m.name, m.method));
  if (!m.name.ends_with(ending)) file.fail(fmt::format("'{}' is no .npy array", m.name));
  m.name.resize(m.name.size() - ending.size());
  return m;
}

/// All members, after a check that together they are no larger than the file: members that overlap would multiply it.
std::vector<Member> read_directory(Reader& file) {
  const uint64_t size = file.limit();
  std::vector<Member> members(seek_directory(file));
  std::vector<std::string_view> names;
  uint64_t packed = 0;
  for (Member& member : members) {
    member = read_entry(file);
    packed += member.packed + local_bytes;
    names.push_back(member.name);
  }
  if (const auto twin = detail::find_twin(std::move(names))) file.fail(fmt::format("'{}' comes twice", *twin));
  if (packed > size) file.fail(fmt::format("the members have {} bytes, more than the file", packed));
  return members;
}

std::string inflate_raw(const Reader& file, const Member& member, std::string& packed) {
  if (member.size > deflate_ratio * (uint64_t{member.packed} + 1))
    file.fail(fmt::format("'{}' has {} bytes, more than its data can hold", member.name, member.size));
  std::string bytes(member.size, '\0');
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) file.fail("zlib has no memory");
  stream.next_in = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_in = member.packed;
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = member.size;
  const int status = inflate(&stream, Z_FINISH);
  const bool whole = status == Z_STREAM_END && stream.avail_out == 0;
  inflateEnd(&stream);
  if (!whole) file.fail(fmt::format("'{}': the compressed data is damaged", member.name));
  return bytes;
}

std::string read_member(Reader& file, const Member& member) {
  file.seek(member.place);
  if (file.little<uint32_t>("a member's header") != local_mark)
    file.fail(fmt::format("'{}' is not where the directory says", member.name));
  file.text(22, "a member's header");  // told by the directory already
  const auto name = file.little<uint16_t>("a member's header"), extra = file.little<uint16_t>("a member's header");
  file.text(uint64_t{name} + extra, "a member's header");
  std::string bytes = file.text(member.packed, member.name);
  if (member.method == 8) bytes = inflate_raw(file, member, bytes);
  if (crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()) != member.crc ||
      bytes.size() != member.size)
    file.fail(fmt::format("'{}' is damaged: its CRC-32 or size is another", member.name));
  return bytes;
}

template <class... Fields>
void write_fields(detail::Output& output, Fields... fields) {
  (output.write(&fields, sizeof fields), ...);
}

// The fields that a member's own header and its directory entry share, from the flags to the length of extras.
void write_common(detail::Output& output, const Member& member, size_t name_bytes) {
  constexpr uint16_t utf8_names = 1 << 11, midnight = 0, first_day = 1 << 5 | 1;  // of 1980
  write_fields(output, utf8_names, member.method, midnight, first_day, member.crc, member.packed, member.size,
               static_cast<uint16_t>(name_bytes), uint16_t{0});
}

void write_member(detail::Output& output, const std::string& name, const Tensor& x, std::vector<Member>& members) {
  const std::string header = detail::npy_header("save_npz", name, x), file_name = name + std::string(ending);
  const Tensor data = dense(x.detach().to(Device::cpu()));
  const uint64_t bytes = header.size() + static_cast<uint64_t>(data.nbytes());
  GRADUS_CHECK(output.size() + bytes < zip64, ValueError, "save_npz: the archive would have 4 GB or more");
  GRADUS_CHECK(file_name.size() <= longest_name && detail::is_utf8(name), ValueError,
               "save_npz: a name is too long or not UTF-8");
  uLong crc = crc32_z(0, reinterpret_cast<const Bytef*>(header.data()), header.size());
  crc = crc32_z(crc, static_cast<const Bytef*>(data.raw_data()), static_cast<size_t>(data.nbytes()));
  const auto size = static_cast<uint32_t>(bytes);
  members.push_back({file_name, 0, static_cast<uint32_t>(crc), size, size, static_cast<uint32_t>(output.size())});
  write_fields(output, local_mark, version);
  write_common(output, members.back(), file_name.size());
  output.write(file_name);
  output.write(header);
  output.write(data.raw_data(), static_cast<size_t>(data.nbytes()));
}

void write_directory(detail::Output& output, const std::vector<Member>& members) {
  const uint64_t place = output.size();
  for (const Member& member : members) {
    write_fields(output, entry_mark, version, version);
    write_common(output, member, member.name.size());
    write_fields(output, uint16_t{0}, uint16_t{0}, uint16_t{0}, uint32_t{0},
                 member.place);  // comment, disk, attributes
    output.write(member.name);
  }
  const auto count = static_cast<uint16_t>(members.size());
  const uint64_t bytes = output.size() - place;
  GRADUS_CHECK(output.size() < zip64, ValueError, "save_npz: the archive would have 4 GB or more");
  write_fields(output, end_mark, uint16_t{0}, uint16_t{0}, count, count, static_cast<uint32_t>(bytes),
               static_cast<uint32_t>(place), uint16_t{0});
}

}  // namespace

NamedTensors load_npz(const std::string& path) {
  Reader file("load_npz", path);
  NamedTensors arrays;
  for (const Member& member : read_directory(file)) {
    const std::string bytes = read_member(file, member);
    Reader array("load_npz", path + ": " + member.name, std::as_bytes(std::span(bytes)));
    arrays.push_back({member.name, detail::read_npy(array)});
  }
  return arrays;
}

void save_npz(const std::string& path, const NamedTensors& arrays) {
  std::vector<std::string_view> names;
  for (const NamedTensor& array : arrays) names.push_back(array.name);
  const auto twin = detail::find_twin(std::move(names));
  GRADUS_CHECK(!twin, ValueError, "save_npz: the name '{}' comes twice", *twin);
  GRADUS_CHECK(arrays.size() < 0xffff, ValueError, "save_npz: {} arrays; want fewer than 65,535", arrays.size());
  detail::write_atomically("save_npz", path, [&](detail::Output& output) {
    std::vector<Member> members;
    for (const auto& [name, x] : arrays) write_member(output, name, x, members);
    write_directory(output, members);
  });
}

}  // namespace gradus::data
