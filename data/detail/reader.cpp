// Where the bytes come from: a descriptor, zlib, or memory.
#include <gradus/data/detail/reader.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>

namespace gradus::data::detail {
namespace {

constexpr uint64_t deflate_ratio = 1032;  // zlib's technical notes: no deflate stream expands further
constexpr size_t largest_read = size_t{1} << 30;

}  // namespace

struct Reader::Source {
  int fd = -1;
  gzFile gzip = nullptr;
  std::span<const std::byte> memory;
  uint64_t size = 0, position = 0;  // size: upper bound for gzip

  ~Source() {
    if (gzip)
      gzclose_r(gzip);
    else if (fd >= 0)
      ::close(fd);
  }
  // Bytes read, 0 at the end, -1 on failure.
  ssize_t read(void* to, size_t count) {
    if (gzip) return gzread(gzip, to, static_cast<unsigned>(count));
    if (fd >= 0) return ::pread(fd, to, count, static_cast<off_t>(position));
    count = std::min<size_t>(count, size - std::min(position, size));
    if (count > 0) std::memcpy(to, memory.data() + position, count);
    return static_cast<ssize_t>(count);
  }
  std::string error() const {
    int code = Z_ERRNO;
    const char* text = gzip ? gzerror(gzip, &code) : "";
    return code == Z_ERRNO ? std::strerror(errno) : text;
  }
};

Reader::Reader(const char* op, const std::string& path, Format format, Links links)
    : context_(fmt::format("{}: {}", op, path)), source_(std::make_unique<Source>()) {
  Source& s = *source_;
  const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // a pipe without a writer would keep us waiting
  s.fd = ::open(path.c_str(), links == Links::refused ? flags | O_NOFOLLOW : flags);
  if (s.fd < 0 && links == Links::refused && errno == ELOOP) fail("is a symbolic link; want a file");
  if (s.fd < 0) fail(fmt::format("cannot open it: {}", std::strerror(errno)));
  struct stat status {};
  if (fstat(s.fd, &status) != 0) fail(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(S_ISDIR(status.st_mode) ? "is a folder; want a file" : "is not a regular file");
  s.size = static_cast<uint64_t>(status.st_size);
  unsigned char magic[2] = {};
  if (format == Format::plain || ::pread(s.fd, magic, 2, 0) != 2 || magic[0] != 0x1f || magic[1] != 0x8b) return;
  s.gzip = gzdopen(s.fd, "rb");
  if (!s.gzip) fail("zlib has no memory");
  gzbuffer(s.gzip, 1 << 17);
  s.size *= deflate_ratio;  // a file of 2^54 bytes does not exist
}

Reader::Reader(const char* op, std::string name, std::span<const std::byte> bytes)
    : context_(fmt::format("{}: {}", op, name)), source_(std::make_unique<Source>()) {
  source_->memory = bytes;
  source_->size = bytes.size();
}

Reader::~Reader() = default;

uint64_t Reader::limit() const { return source_->size - std::min(source_->position, source_->size); }
uint64_t Reader::position() const { return source_->position; }
void Reader::seek(uint64_t position) { source_->position = position; }

size_t Reader::read_some(void* to, size_t count) {
  Source& s = *source_;
  size_t done = 0;
  while (done < count) {
    const ssize_t n = s.read(static_cast<char*>(to) + done, std::min(count - done, largest_read));
    if (n < 0 && !s.gzip && errno == EINTR) continue;
    if (n < 0) fail(fmt::format("cannot read it: {}", s.error()));
    if (n == 0) break;
    done += static_cast<size_t>(n);
    s.position += static_cast<uint64_t>(n);
  }
  int code = Z_OK;  // a gzip file cut short ends early with an error that only gzerror() tells
  if (done < count && s.gzip && (gzerror(s.gzip, &code), code != Z_OK)) fail("the gzip data is cut short");
  return done;
}

void Reader::read(void* to, uint64_t count, std::string_view field) {
  const uint64_t start = position(), there = count > limit() ? limit() : read_some(to, count);
  if (there < count)
    fail(fmt::format("ends inside {}: want {} bytes at position {}, {} are left", field, count, start, there));
}

std::string Reader::text(uint64_t count, std::string_view field) {
  if (count > limit()) read(nullptr, count, field);  // fails
  std::string text(count, '\0');
  read(text.data(), count, field);
  return text;
}

uint64_t Reader::bytes_of(std::span<const int64_t> shape, Dtype dtype, std::string_view field) const {
  if (shape.size() > max_rank)
    fail(fmt::format("{} has {} dims; Gradus has at most {}", field, shape.size(), max_rank));
  // Sizes of zero are left to the end, so that [2^62, 2^62, 0] is refused as what it is.
  uint64_t bytes = static_cast<uint64_t>(itemsize(dtype));
  bool wraps = false, zero = false;
  for (const int64_t size : shape) {
    wraps |= size < 0 || (size > 0 && __builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes));
    zero |= size == 0;
  }
  if (wraps || bytes > uint64_t{INT64_MAX}) fail(fmt::format("{}: the shape has more bytes than 64 bits count", field));
  if (zero) return 0;
  if (bytes > limit()) fail(fmt::format("{} has {} bytes, more than the file can hold", field, bytes));
  return bytes;
}

Tensor Reader::tensor(const Shape& shape, Dtype dtype, std::string_view field) {
  bytes_of(shape, dtype, field);
  Tensor x = empty(shape, {.dtype = dtype});
  fill(x, field);
  return x;
}

void Reader::fill(const Tensor& x, std::string_view field) {
  read(Tensor(x).mutable_raw_data(), static_cast<uint64_t>(x.nbytes()), field);
  const auto* values = static_cast<const uint8_t*>(x.raw_data());
  if (x.dtype() == boolean && std::any_of(values, values + x.nbytes(), [](uint8_t b) { return b > 1; }))
    fail(fmt::format("{} is boolean and has bytes other than 0 and 1", field));
}

void Reader::expect_end(std::string_view last_field) {
  char more;
  if (read_some(&more, 1) != 0) fail(fmt::format("has bytes behind {}", last_field));
}

void Reader::fail(const std::string& problem) const { throw IoError(fmt::format("{}: {}", context_, problem)); }

void swap_bytes(const Tensor& x) {
  auto* bytes = static_cast<std::byte*>(x.mutable_raw_data());
  const int64_t width = itemsize(x.dtype());
  for (int64_t i = 0; i < x.nbytes(); i += width) std::reverse(bytes + i, bytes + i + width);
}

}  // namespace gradus::data::detail
