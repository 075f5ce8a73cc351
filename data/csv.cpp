// Tables of numbers in text: RFC 4180, read in one pass without keeping the text.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <deque>
#include <utility>

#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/data/detail/reader.h>
#include <gradus/data/readers.h>

namespace gradus::data {
namespace {

constexpr size_t longest_cell = 1 << 20, most_cells = 1 << 20;  // of a row

/// The characters of a file, with one to look ahead.
class Characters {
 public:
  static constexpr int end = -1;
  explicit Characters(const std::string& path) : file_("read_csv", path, detail::Reader::Format::maybe_gzip) {
    if (peek() == 0xef) {  // a byte order mark
      for (const int mark : {0xef, 0xbb, 0xbf})
        if (take() != mark) fail("begins with half a byte order mark");
    }
  }
  int peek() {
    if (at_ == size_) {
      size_ = file_.read_some(buffer_.data(), buffer_.size());
      at_ = 0;
    }
    return at_ < size_ ? static_cast<unsigned char>(buffer_[at_]) : end;
  }
  int take() {
    const int c = peek();
    at_ += c != end;
    line_ += c == '\n';
    return c;
  }
  int64_t line() const { return line_; }
  [[noreturn]] void fail(const std::string& problem) const { file_.fail(problem); }

 private:
  detail::Reader file_;
  std::string buffer_ = std::string(1 << 16, '\0');
  size_t at_ = 0, size_ = 0;
  int64_t line_ = 1;
};

/// One cell, up to the separator or line end behind it.
void read_cell(Characters& text, char separator, std::string& cell) {
  cell.clear();
  const auto append = [&](int c) {
    if (cell.size() == longest_cell)
      text.fail(fmt::format("line {}: a cell has more than {} bytes", text.line(), longest_cell));
    cell += static_cast<char>(c);
  };
  const auto ends = [&](int c) { return c == separator || c == '\n' || c == '\r' || c == Characters::end; };
  if (text.peek() != '"') {
    while (!ends(text.peek())) append(text.take());
    return;
  }
  const int64_t line = text.line();
  text.take();
  for (;;) {
    const int c = text.take();
    if (c == Characters::end) text.fail(fmt::format("line {}: a quote has no end", line));
    if (c != '"')
      append(c);
    else if (text.peek() == '"')
      append(text.take());
    else
      break;
  }
  if (!ends(text.peek())) text.fail(fmt::format("line {}: text behind the quote of a cell", text.line()));
}

/// The next row that is not blank, and the line on which it begins; 0 at the end.
int64_t read_row(Characters& text, char separator, std::vector<std::string>& cells) {
  while (text.peek() == '\n' || text.peek() == '\r') text.take();
  if (text.peek() == Characters::end) return 0;
  const int64_t line = text.line();
  size_t count = 0;
  do {
    if (count == most_cells) text.fail(fmt::format("line {} has more than {} cells", line, most_cells));
    if (count == cells.size()) cells.emplace_back();
    read_cell(text, separator, cells[count++]);
  } while (text.peek() == separator && text.take());
  cells.resize(count);
  if (text.peek() == '\r') text.take();
  if (text.peek() != '\n' && text.peek() != Characters::end)
    text.fail(fmt::format("line {}: a carriage return inside a row", line));
  return line;
}

double to_number(const Characters& text, int64_t line, const std::string& cell, const std::string& column) {
  constexpr const char* blanks = " \t";
  const size_t first = std::min(cell.find_first_not_of(blanks), cell.size()), last = cell.find_last_not_of(blanks) + 1;
  const char *begin = cell.data() + first, *end = cell.data() + std::max(first, last);
  if (end - begin > 1 && *begin == '+' && begin[1] != '-') ++begin;
  double value = 0;
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || stop != end)
    text.fail(fmt::format("line {}, column '{}': '{}' is no number{}", line, column, cell.substr(0, 40),
                          error == std::errc::result_out_of_range ? " of float64" : ""));
  return value;
}

/// Which cell of a row each wanted column is.
std::vector<size_t> find_columns(const Characters& text, const std::vector<std::string>& names,
                                 const std::vector<std::string>& wanted) {
  std::vector<size_t> places;
  for (const std::string& column : wanted) {
    const auto found = std::find(names.begin(), names.end(), column);
    if (found == names.end())
      text.fail(fmt::format("has no column '{}'; there are: {}", column, fmt::join(names, ", ")));
    if (std::find(found + 1, names.end(), column) != names.end())
      text.fail(fmt::format("has two columns '{}'", column));
    places.push_back(static_cast<size_t>(found - names.begin()));
  }
  return places;
}

std::vector<std::string> numbered(size_t count) {
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) names.push_back(std::to_string(i));
  return names;
}

}  // namespace

CsvTable read_csv(const std::string& path, const CsvOptions& o) {
  GRADUS_CHECK(o.separator != '"' && o.separator != '\n' && o.separator != '\r', ValueError,
               "read_csv: the separator is a quote or a line end");
  GRADUS_CHECK(o.skip_rows >= 0, ValueError, "read_csv: skip_rows is {}; want 0 or more", o.skip_rows);
  Characters text(path);
  while (text.line() <= o.skip_rows && text.take() != Characters::end) {
  }
  std::vector<std::string> cells;
  int64_t line = read_row(text, o.separator, cells);
  if (line == 0) text.fail("has no rows");
  const std::vector<std::string> names = o.header ? std::move(cells) : numbered(cells.size());
  CsvTable table{{}, o.columns.empty() ? names : o.columns};
  const std::vector<size_t> places = o.columns.empty() ? std::vector<size_t>() : find_columns(text, names, o.columns);
  std::deque<double> values;  // which grows without being copied, and shrinks while the tensor is filled
  int64_t rows = 0;
  if (o.header) line = read_row(text, o.separator, cells);
  for (; line > 0; ++rows, line = read_row(text, o.separator, cells)) {
    if (cells.size() != names.size())
      text.fail(fmt::format("line {} has {} cells; want {}", line, cells.size(), names.size()));
    for (size_t i = 0; i < table.columns.size(); ++i)
      values.push_back(to_number(text, line, cells[places.empty() ? i : places[i]], table.columns[i]));
  }
  table.values = empty({rows, static_cast<int64_t>(table.columns.size())}, {.dtype = float64});
  for (double* to = table.values.mutable_data<double>(); !values.empty(); values.pop_front()) *to++ = values.front();
  return table;
}

TensorDataset read_csv_dataset(const std::string& path, const std::string& target, const CsvOptions& options,
                               Dtype target_dtype) {
  GRADUS_CHECK(target_dtype == int64 || target_dtype == float32, DtypeError,
               "read_csv_dataset: target_dtype is {}; want int64 (classes) or float32", target_dtype);
  CsvOptions with_target = options;
  if (!options.columns.empty() &&
      std::find(options.columns.begin(), options.columns.end(), target) == options.columns.end())
    with_target.columns.push_back(target);
  const CsvTable table = read_csv(path, with_target);
  const auto column = std::find(table.columns.begin(), table.columns.end(), target);
  GRADUS_CHECK(column != table.columns.end(), IoError, "read_csv_dataset: {}: has no column '{}'; there are: {}", path,
               target, fmt::join(table.columns, ", "));
  const int64_t rows = table.values.size(0), width = table.values.size(1), t = column - table.columns.begin();
  const Tensor inputs = empty({rows, width - 1}), targets = empty({rows}, {.dtype = target_dtype});
  float* x = inputs.mutable_data<float>();
  for (int64_t r = 0; r < rows; ++r) {
    const double* row = table.values.data<double>() + r * width;
    for (int64_t c = 0; c < width; ++c)
      if (c != t) *x++ = static_cast<float>(row[c]);
    if (target_dtype == float32) {
      targets.mutable_data<float>()[r] = static_cast<float>(row[t]);
      continue;
    }
    GRADUS_CHECK(std::trunc(row[t]) == row[t] && std::abs(row[t]) < 0x1p53, IoError,
                 "read_csv_dataset: {}: target {} is {}; a class is an integer (or ask for float32 targets)", path, r,
                 row[t]);
    targets.mutable_data<int64_t>()[r] = static_cast<int64_t>(row[t]);
  }
  return {inputs, targets};
}

}  // namespace gradus::data
