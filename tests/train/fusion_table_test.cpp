#include <string>

#include <gtest/gtest.h>

#include <exfusion/train/fusion_table.hpp>

namespace exfusion::train {
namespace {

TEST(FusionTable, GivesEachLayerALineWithTheRangeOverItsExperts) {
  FusionDiagnostics layer;
  layer.name = "blocks.0.ffn";
  layer.weights = {0.25, 0.5, 0.125, 0.125};
  layer.spread = {0.01, 0.5, 0.25, 0.125};
  layer.entropy = 1.21;
  layer.movement = 0.001;
  const std::string table = fusion_table({layer, layer});
  EXPECT_EQ(std::ranges::count(table, '\n'), 3);
  EXPECT_NE(table.find("blocks.0.ffn     0.12500..0.50000   1.21000   1.00e-03   1.00e-02..5.00e-01\n"),
            std::string::npos)
      << table;
}

TEST(FusionTable, IsEmptyWithoutFusedLayers) { EXPECT_EQ(fusion_table({}), ""); }

}  // namespace
}  // namespace exfusion::train
