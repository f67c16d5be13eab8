#include "products.h"

#include <strings.h>

namespace sim {
namespace {

// clang-format off
constexpr Product kProducts[] = {
  // key                 name                                  memory rsvd  SMs  cc      device      subsystem   W     BAR1    SM    mem    bus   GB/s  L2 KiB  ctx  gen links
  {"V100-16GB",         "Tesla V100-SXM2-16GB",                16384, 233,  80,  7, 0, 0x1DB110DE, 0x121210DE, 300,  16384, 1530,   877, 4096,  900,   6144, 304, 3,  6},
  {"V100-32GB",         "Tesla V100-SXM2-32GB",                32768, 258,  80,  7, 0, 0x1DB510DE, 0x124910DE, 300,  32768, 1530,   877, 4096,  900,   6144, 304, 3,  6},
  {"T4-16GB",           "Tesla T4",                            15360, 258,  40,  7, 5, 0x1EB810DE, 0x12A210DE,  70,    256, 1590,  5001,  256,  320,   4096, 102, 3,  0},
  {"A10-24GB",          "NVIDIA A10",                          23028, 440,  72,  8, 6, 0x223610DE, 0x148210DE, 150,  32768, 1695,  6251,  384,  600,   6144, 258, 4,  0},
  {"A30-24GB",          "NVIDIA A30",                          24576, 370,  56,  8, 0, 0x20B710DE, 0x153210DE, 165,  32768, 1440,  1215, 3072,  933,  24576, 380, 4,  4},
  {"A40-48GB",          "NVIDIA A40",                          46068, 590,  84,  8, 6, 0x223510DE, 0x145A10DE, 300,  65536, 1740,  7251,  384,  696,   6144, 278, 4,  4},
  {"A100-40GB",         "NVIDIA A100-SXM4-40GB",               40960, 424, 108,  8, 0, 0x20B010DE, 0x134F10DE, 400,  65536, 1410,  1215, 5120, 1555,  40960, 414, 4, 12},
  {"A100-80GB",         "NVIDIA A100-SXM4-80GB",               81920, 768, 108,  8, 0, 0x20B210DE, 0x146310DE, 400, 131072, 1410,  1593, 5120, 2039,  40960, 414, 4, 12},
  {"A100-PCIE-40GB",    "NVIDIA A100-PCIE-40GB",               40960, 424, 108,  8, 0, 0x20F110DE, 0x145F10DE, 250,  65536, 1410,  1215, 5120, 1555,  40960, 414, 4, 12},
  {"A100-PCIE-80GB",    "NVIDIA A100 80GB PCIe",               81920, 768, 108,  8, 0, 0x20B510DE, 0x153310DE, 300, 131072, 1410,  1512, 5120, 1935,  40960, 414, 4, 12},
  {"L4-24GB",           "NVIDIA L4",                           23034, 471,  58,  8, 9, 0x27B810DE, 0x16CA10DE,  72,  32768, 2040,  6251,  192,  300,  49152, 256, 4,  0},
  {"L40-48GB",          "NVIDIA L40",                          46068, 604, 142,  8, 9, 0x26B510DE, 0x169D10DE, 300,  65536, 2490,  9001,  384,  864,  98304, 456, 4,  0},
  {"L40S-48GB",         "NVIDIA L40S",                         46068, 604, 142,  8, 9, 0x26B910DE, 0x185110DE, 350,  65536, 2520,  9001,  384,  864,  98304, 456, 4,  0},
  {"H100-80GB",         "NVIDIA H100 80GB HBM3",               81559, 551, 132,  9, 0, 0x233010DE, 0x16C110DE, 700, 131072, 1980,  2619, 5120, 3352,  51200, 528, 5, 18},
  {"H100-PCIE-80GB",    "NVIDIA H100 PCIe",                    81559, 551, 114,  9, 0, 0x233110DE, 0x162610DE, 350, 131072, 1755,  1593, 5120, 2039,  51200, 464, 5, 12},
  {"H100-NVL-94GB",     "NVIDIA H100 NVL",                     95830, 601, 132,  9, 0, 0x232110DE, 0x183910DE, 400, 131072, 1785,  2619, 6016, 3938,  61440, 528, 5, 12},
  {"H200-141GB",        "NVIDIA H200",                        143771, 604, 132,  9, 0, 0x233510DE, 0x18BE10DE, 700, 262144, 1980,  3201, 6144, 4814,  61440, 528, 5, 18},
  {"B200-180GB",        "NVIDIA B200",                        183359, 700, 148, 10, 0, 0x290110DE, 0x199910DE,1000, 262144, 1965,  3996, 8192, 7672, 129536, 590, 5, 18},
  {"RTX-3090-24GB",     "NVIDIA GeForce RTX 3090",             24576, 309,  82,  8, 6, 0x220410DE, 0x147D10DE, 350,    256, 2100,  9751,  384,  936,   6144, 256, 4,  4},
  {"RTX-4090-24GB",     "NVIDIA GeForce RTX 4090",             24564, 347, 128,  8, 9, 0x268410DE, 0x16F410DE, 450,    256, 3105, 10501,  384, 1008,  73728, 422, 4,  0},
  {"RTX-5090-32GB",     "NVIDIA GeForce RTX 5090",             32607, 477, 170, 12, 0, 0x2B8510DE, 0x205710DE, 575,  32768, 3090, 14001,  512, 1792,  98304, 520, 5,  0},
  {"RTX-6000-Ada-48GB", "NVIDIA RTX 6000 Ada Generation",      49140, 620, 142,  8, 9, 0x26B110DE, 0x16A110DE, 300,  65536, 3105, 10001,  384,  960,  98304, 456, 4,  0},
  {"RTX-PRO-6000-96GB", "NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, 636, 188, 12, 0, 0x2BB510DE, 0x204E10DE, 600, 131072, 2430, 12481, 512, 1597, 131072, 560, 5, 0},
  {"GB10",              "NVIDIA GB10",                             0,   0,  48, 12, 1, 0x2E1210DE, 0x000010DE, 140,      0, 2418,  4266,  256,  273,  24576, 300, 5,  0, true},
};
// clang-format on

}  // namespace

std::span<const Product> products() { return kProducts; }

const Product* find_product(std::string_view key) {
  for (const Product& product : kProducts) {
    const std::string_view name = product.key;
    if (name.size() == key.size() && strncasecmp(name.data(), key.data(), key.size()) == 0) return &product;
  }
  return nullptr;
}

std::string known_products() {
  std::string text;
  for (const Product& product : kProducts) {
    if (!text.empty()) text += ", ";
    text += product.key;
  }
  return text;
}

}  // namespace sim
