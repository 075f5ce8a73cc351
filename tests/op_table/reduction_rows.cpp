// Rows of autograd/ops/reduction.cpp, extreme.cpp and sort.cpp.
#include <cmath>

#include "op_table/op_table.h"

namespace op_table {
namespace {

using Reducer = std::function<Tensor(const Tensor& x, const Dims& dims, bool keep)>;
const Shape ends = {0, 2}, first_two = {0, 1};

// Samples of f over one dim, several, all; values from a range. The first size is large enough for full vectors.
std::vector<Sample> reduction_samples(const Reducer& f, double low = -2, double high = 2) {
  return {{"all", {F({3, 4}, low, high)}, [f](In x) { return f(x[0], {}, false); }},
          {"all_keep", {F({3, 4}, low, high)}, [f](In x) { return f(x[0], {}, true); }},
          {"last", {F({2, 19}, low, high)}, [f](In x) { return f(x[0], -1, false); }},
          {"first", {F({19, 2}, low, high)}, [f](In x) { return f(x[0], 0, false); }},
          {"middle_keep", {F({2, 3, 4}, low, high)}, [f](In x) { return f(x[0], 1, true); }},
          {"ends", {F({2, 3, 4}, low, high)}, [f](In x) { return f(x[0], ends, false); }},
          {"first_two_keep", {F({2, 3, 4}, low, high)}, [f](In x) { return f(x[0], first_two, true); }},
          {"number", {F({}, low, high)}, [f](In x) { return f(x[0], {}, false); }}};
}
Sample empty_sample(const Reducer& f) {
  return {"empty", {F({2, 0, 3})}, [f](In x) { return f(x[0], 1, false); }};
}

std::vector<BadInput> reduction_errors(const Reducer& f) {
  return {bad<Error>(
              "undefined", [f] { f(Tensor(), {}, false); }, "x is an undefined tensor"),
          bad<IndexError>(
              "dim",
              [f] {
                f(ones({2, 3}), 2, false);
              },
              "dim 2"),
          bad<ValueError>(
              "twice",
              [f] {
                f(ones({2, 3}), Shape({0, -2}), false);
              },
              "twice")};
}
BadInput refuses_integers(const Reducer& f) {
  return bad<DtypeError>(
      "integers",
      [f] {
        f(ones({2, 3}, {.dtype = int64}), {}, false);
      },
      "int64");
}

Row reduction(const char* name, const Reducer& f, double low = -2, double high = 2) {
  return {name, reduction_samples(f, low, high), reduction_errors(f)};
}
Row with_empty(Row row, const Reducer& f) {
  row.samples.push_back(empty_sample(f));
  return row;
}
Row with(Row row, BadInput bad_input) {
  row.bad_inputs.push_back(std::move(bad_input));
  return row;
}
Row with(Row row, Sample sample) {
  row.samples.push_back(std::move(sample));
  return row;
}

const Reducer sum_of = [](const Tensor& x, const Dims& dims, bool keep) { return sum(x, dims, keep); };
const Reducer mean_of = [](const Tensor& x, const Dims& dims, bool keep) { return mean(x, dims, keep); };
const Reducer prod_of = [](const Tensor& x, const Dims& dims, bool keep) { return prod(x, dims, keep); };
const Reducer var_of = [](const Tensor& x, const Dims& dims, bool keep) { return var(x, dims, 0, keep); };
const Reducer stddev_of = [](const Tensor& x, const Dims& dims, bool keep) { return stddev(x, dims, 0, keep); };
const Reducer any_of = [](const Tensor& x, const Dims& dims, bool keep) {
  return any(x.defined() ? x > 1.5 : x, dims, keep);
};
const Reducer all_of = [](const Tensor& x, const Dims& dims, bool keep) {
  return all(x.defined() ? x < 1.5 : x, dims, keep);
};
const Reducer logsumexp_of = [](const Tensor& x, const Dims& dims, bool keep) { return logsumexp(x, dims, keep); };
Reducer norm_of(double p) {
  return [p](const Tensor& x, const Dims& dims, bool keep) { return norm(x, p, dims, keep); };
}

using Along = std::pair<Tensor, Tensor> (*)(const Tensor&, int64_t, bool);
using Whole = Tensor (*)(const Tensor&);
using Position = Tensor (*)(const Tensor&, std::optional<int64_t>, bool);

Row extreme(const char* name, Whole whole, Along along) {
  return {name,
          {{"all", {F({3, 4})}, [whole](In x) { return whole(x[0]); }},
           {"last", {F({2, 19})}, [along](In x) { return along(x[0], -1, false).first; }},
           {"first", {F({19, 2})}, [along](In x) { return along(x[0], 0, false).first; }},
           {"middle_keep", {F({2, 3, 4})}, [along](In x) { return along(x[0], 1, true).first; }},
           {"number", {F({})}, [along](In x) { return along(x[0], 0, false).first; }}},
          {bad<Error>(
               "undefined", [whole] { whole(Tensor()); }, "x is an undefined tensor"),
           bad<ShapeError>(
               "empty", [whole] { whole(ones({0})); }, "[0]"),
           bad<ShapeError>(
               "empty dim",
               [along] {
                 along(ones({2, 0}), 1, false);
               },
               "dim 1"),
           bad<IndexError>(
               "dim",
               [along] {
                 along(ones({2, 3}), -3, false);
               },
               "dim -3")}};
}

Row position(const char* name, Position f) {
  return Row{name,
             {{"all", {F({3, 4})}, [f](In x) { return f(x[0], {}, false); }},
              {"all_keep", {F({3, 4})}, [f](In x) { return f(x[0], {}, true); }},
              {"last", {F({2, 19})}, [f](In x) { return f(x[0], -1, false); }},
              {"first", {F({19, 2})}, [f](In x) { return f(x[0], 0, false); }},
              {"middle_keep", {F({2, 3, 4})}, [f](In x) { return f(x[0], 1, true); }}},
             {bad<Error>(
                  "undefined", [f] { f(Tensor(), {}, false); }, "x is an undefined tensor"),
              bad<ShapeError>(
                  "empty", [f] { f(ones({0}), {}, false); }, "[0]"),
              bad<IndexError>(
                  "dim",
                  [f] {
                    f(ones({2, 3}), 2, false);
                  },
                  "dim 2")}}
      .no_derivative()  // positions are integers
      .float32_only();  // close values become equal
}

const bool added = add({
    with_empty(reduction("sum", sum_of), sum_of),
    with(with_empty(reduction("mean", mean_of), mean_of), refuses_integers(mean_of)),
    with(with_empty(reduction("prod", prod_of, 0.5, 1.5), prod_of).within(32),  // as many roundings as factors
         Sample{"zeros",
                {I({5, 3}, 0, 3), F({5, 3}, 0.5, 1.5)},
                [](In x) { return prod(x[0].to(x[1].dtype()) * x[1], 0); }}),
    with(with(reduction("var", var_of), refuses_integers(var_of)),
         Sample{"bessel", {F({4, 3})}, [](In x) { return var(x[0], 0); }}),
    // A number has no deviation, and there no derivative.
    [] {
      Row row = with(reduction("stddev", stddev_of), refuses_integers(stddev_of));
      row.samples.pop_back();
      row.samples.push_back({"bessel", {F({4, 3})}, [](In x) { return stddev(x[0], 0); }});
      return row;
    }(),
    with_empty(reduction("any", any_of), any_of).no_derivative().float32_only(),  // true or false
    with_empty(reduction("all", all_of), all_of).no_derivative().float32_only(),
    extreme("max", max, max),
    extreme("min", min, min),
    position("argmax", argmax),
    position("argmin", argmin),
    [] {
      Row row = with(reduction("norm", norm_of(2)), refuses_integers(norm_of(2)));
      for (const auto& [label, p] :
           {std::pair{"p0", 0.0}, {"p1", 1.0}, {"p3", 3.0}, {"p1.5", 1.5}, {"pinf", INFINITY}, {"pmin", -INFINITY}})
        row.samples.push_back({label, {F({3, 4})}, [p = p](In x) { return norm(x[0], p, 1); }});
      row.bad_inputs.push_back(bad<ValueError>(
          "p", [] { norm(ones({2}), NAN); }, "p is NaN"));
      return row;
    }(),
    with(with_empty(reduction("logsumexp", logsumexp_of), logsumexp_of), refuses_integers(logsumexp_of)),
    Row{"sum_to",
        {{"row", {F({4, 3})}, [](In x) { return sum_to(x[0], {3}); }},
         {"column",
          {F({4, 3})},
          [](In x) {
            return sum_to(x[0], {4, 1});
          }},
         {"number", {F({4, 3})}, [](In x) { return sum_to(x[0], {}); }},
         {"ones", {F({1, 1, 3})}, [](In x) { return sum_to(x[0], {3}); }},
         {"both",
          {F({2, 4, 3})},
          [](In x) {
            return sum_to(x[0], {4, 1});
          }}},
        {bad<ShapeError>(
             "rank",
             [] {
               sum_to(ones({3}), {1, 3});
             },
             "[1, 3]"),
         bad<ShapeError>(
             "size",
             [] {
               sum_to(ones({4, 3}), {2});
             },
             "[2]")}},

    {"cumsum",
     {{"last", {F({2, 5})}, [](In x) { return cumsum(x[0], -1); }},
      {"first", {F({5, 2})}, [](In x) { return cumsum(x[0], 0); }},
      {"middle", {F({2, 3, 4})}, [](In x) { return cumsum(x[0], 1); }},
      {"number", {F({})}, [](In x) { return cumsum(x[0], 0); }},
      {"empty", {F({2, 0})}, [](In x) { return cumsum(x[0], 1); }}},
     {bad<Error>(
          "undefined", [] { cumsum(Tensor(), 0); }, "x is an undefined tensor"),
      bad<IndexError>(
          "dim",
          [] {
            cumsum(ones({2, 3}), 2);
          },
          "dim 2")}},
    {"sort",
     {{"last", {F({3, 7})}, [](In x) { return sort(x[0]).first; }},
      {"first_descending", {F({7, 3})}, [](In x) { return sort(x[0], 0, true).first; }},
      {"middle", {F({2, 5, 3})}, [](In x) { return sort(x[0], 1).first; }},
      {"number", {F({})}, [](In x) { return sort(x[0]).first; }},
      {"empty", {F({2, 0})}, [](In x) { return sort(x[0]).first; }}},
     {bad<Error>(
          "undefined", [] { sort(Tensor()); }, "x is an undefined tensor"),
      bad<IndexError>(
          "dim",
          [] {
            sort(ones({2, 3}), 2);
          },
          "dim 2")}},
    {"topk",
     {{"last", {F({3, 7})}, [](In x) { return topk(x[0], 3).first; }},
      {"first_smallest", {F({7, 3})}, [](In x) { return topk(x[0], 2, 0, false).first; }},
      {"middle", {F({2, 5, 3})}, [](In x) { return topk(x[0], 4, 1).first; }},
      {"whole", {F({2, 5})}, [](In x) { return topk(x[0], 5).first; }},
      {"none", {F({2, 5})}, [](In x) { return topk(x[0], 0).first; }}},
     {bad<Error>(
          "undefined", [] { topk(Tensor(), 1); }, "x is an undefined tensor"),
      bad<ValueError>(
          "k",
          [] {
            topk(ones({2, 3}), 4);
          },
          "k is 4"),
      bad<ValueError>(
          "negative k",
          [] {
            topk(ones({2, 3}), -1);
          },
          "k is -1"),
      bad<IndexError>(
          "dim", [] { topk(ones({2, 3}), 1, 2); }, "dim 2")}},
});

}  // namespace
}  // namespace op_table
