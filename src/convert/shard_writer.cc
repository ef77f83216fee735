#include "convert/shard_writer.h"

#include <cstdio>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "ckpt/tensor_file.h"

namespace ckv {
namespace {

int64_t SizeOf(const OutputTensor& tensor) {
  return static_cast<int64_t>(
      SafetensorsSizeBytes(tensor.description.dtype, tensor.description.shape));
}

// The number of the first tensor of each file, and the end.
std::vector<size_t> CutIntoShards(const std::vector<OutputTensor>& tensors, int64_t max_bytes) {
  std::vector<size_t> begins = {0};
  int64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t size = SizeOf(tensors[i]);
    if (i > begins.back() && size > max_bytes - bytes) {
      begins.push_back(i);
      bytes = 0;
    }
    bytes += size;
  }
  begins.push_back(tensors.size());
  return begins;
}

std::string ShardName(size_t shard, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", shard + 1, count);
  return name;
}

void WriteShard(const std::string& path, const OutputTensor* begin, const OutputTensor* end,
                const std::function<void()>& before_each) {
  std::vector<SafetensorsTensor> list;
  for (const OutputTensor* tensor = begin; tensor != end; ++tensor) {
    list.push_back(tensor->description);
  }
  // Transformers refuses files that do not say so.
  SafetensorsWriter writer(path, list, {{"format", "pt"}});
  for (const OutputTensor* tensor = begin; tensor != end; ++tensor) {
    before_each();
    const at::Tensor made = tensor->make().contiguous();
    const SafetensorsTensor& description = tensor->description;
    CKV_CHECK(made.scalar_type() == MemoryDtype(description.dtype) &&
                  made.sizes() == at::IntArrayRef(description.shape),
              description.name, " is not what was announced");
    writer.Write(description.name, made.data_ptr(), made.nbytes());
  }
  writer.Close();
}

}  // namespace

WrittenWeights WriteShards(const std::string& folder, const std::vector<OutputTensor>& tensors,
                           int64_t max_shard_bytes, const std::function<void()>& before_each) {
  const std::vector<size_t> begins = CutIntoShards(tensors, max_shard_bytes);
  const size_t count = begins.size() - 1;
  WrittenWeights written;
  written.num_files = static_cast<int64_t>(count);
  OrderedJson places = OrderedJson::object();
  for (size_t shard = 0; shard < count; ++shard) {
    const std::string name = ShardName(shard, count);
    WriteShard(JoinPath(folder, name), tensors.data() + begins[shard],
               tensors.data() + begins[shard + 1], before_each);
    for (size_t i = begins[shard]; i < begins[shard + 1]; ++i) {
      places[tensors[i].description.name] = name;
      written.num_bytes += SizeOf(tensors[i]);
    }
  }
  if (count > 1) {
    OrderedJson index;
    index["metadata"]["total_size"] = written.num_bytes;
    index["weight_map"] = places;
    WriteFileAtomically(JoinPath(folder, "model.safetensors.index.json"), index.dump(2) + "\n");
  }
  return written;
}

}  // namespace ckv
