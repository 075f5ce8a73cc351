// What is said of a module as a whole: its summary, and how often it is right.
#include <string>
#include <utility>
#include <vector>

#include "modules.h"

using Catch::Matchers::ContainsSubstring;

TEST_CASE("summary counts shapes, parameters, multiply-adds and bytes") {
  Net net;
  net.norm.eval();
  net.freeze("fc.*");
  const nn::Summary s = nn::summary(net, {2, 1, 8, 8});
  REQUIRE(s.rows.size() == 5);
  CHECK(s.rows[0].type.find("Net") != std::string::npos);
  CHECK(s.rows[1].name == "conv1");
  CHECK(s.rows[1].type == "Conv2d");
  CHECK(*s.rows[1].output == Shape{2, 4, 8, 8});
  CHECK(s.rows[1].parameters == 40);
  CHECK(s.rows[1].macs == 2 * 4 * 64 * 9);
  CHECK(s.rows[3].macs == 2 * 3 * 64);
  CHECK(s.rows[0].macs == s.macs);
  CHECK(s.macs == 2 * 4 * 64 * 9 + 2 * 3 * 64);
  CHECK(s.parameters == 240);
  CHECK(s.trainable_parameters == 48);
  CHECK(s.parameter_bytes == 960);
  CHECK(s.buffer_bytes == 4 * 8 + 8);
  CHECK(s.input_bytes == 512);
  CHECK(s.activation_bytes == 4 * (512 + 512 + 6 + 128));
  // Everything is as it was.
  CHECK(net.is_training());
  CHECK(net.drop.is_training());
  CHECK(!net.norm.is_training());
  CHECK(net.norm.num_batches_tracked.item<int64_t>() == 0);
  const std::string text = to_string(s);
  for (const char* part : {"conv1", "Conv2d", "[2, 4, 8, 8]", "4,608", "240", "48 trainable", "4,992"})
    CHECK_THAT(text, ContainsSubstring(part));
  CHECK(detail::to_text(s) == text);  // what print() shows

  Tied tied;
  const nn::Summary t = nn::summary(tied, {2, 3}, {.dtype = int64});
  CHECK(t.parameters == 16);
  CHECK(t.macs == 2 * 3 * 3 * 5);
  Stack stack;
  const nn::Summary nested = nn::summary(stack, {5, 3});
  CHECK(nested.macs == 5 * (9 + 9 + 9 + 6));
  for (const nn::SummaryRow& row : nested.rows) {
    if (row.name == "blocks") CHECK((!row.output && row.calls == 0 && row.macs == 5 * 18 && row.parameters == 24));
    if (row.name == "tail") CHECK((row.calls == 1 && row.macs == 5 * 15));
    if (row.name == "tail.2") CHECK((row.depth == 2 && row.macs == 5 * 6 && row.type == "Sequential"));
  }
  CHECK_THROWS_AS(nn::summary(net, {2, 9, 8, 8}), Error);
  CHECK(net.is_training());
}

TEST_CASE("evaluate_accuracy counts right answers and leaves modes alone") {
  Net net;
  net.drop.eval();
  std::vector<std::pair<Tensor, Tensor>> batches;
  int64_t right = 0;
  for (int i = 0; i < 3; ++i) {
    const Tensor x = randn({4 + i, 1, 8, 8}), y = randint(3, {4 + i});
    batches.emplace_back(x, y);
    const nn::Evaluation scope(net);
    CHECK(!net(x).requires_grad());
    right += sum(argmax(net(x), 1) == y).item<int64_t>();
  }
  CHECK(evaluate_accuracy(net, batches) == static_cast<double>(right) / 15);
  CHECK(net.norm.is_training());
  CHECK(!net.drop.is_training());
  CHECK(net.norm.num_batches_tracked.item<int64_t>() == 0);
  batches = {{randn({2, 1, 8, 8}), zeros({3}, {.dtype = int64})}};
  CHECK_THROWS_AS(evaluate_accuracy(net, batches), ShapeError);
  batches.clear();
  CHECK_THROWS_AS(evaluate_accuracy(net, batches), ValueError);
}
