#include "ckpt/tensor_file.h"

#include <cstring>
#include <set>
#include <utility>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

namespace ckv {
namespace {

struct DtypeRow {
  SafetensorsDtype file;
  at::ScalarType memory;
};

constexpr DtypeRow kDtypes[] = {
    {SafetensorsDtype::kF64, at::kDouble},
    {SafetensorsDtype::kF32, at::kFloat},
    {SafetensorsDtype::kF16, at::kHalf},
    {SafetensorsDtype::kBF16, at::kBFloat16},
    {SafetensorsDtype::kI64, at::kLong},
    {SafetensorsDtype::kI32, at::kInt},
    {SafetensorsDtype::kI16, at::kShort},
    {SafetensorsDtype::kI8, at::kChar},
    {SafetensorsDtype::kU8, at::kByte},
    {SafetensorsDtype::kBool, at::kBool},
    {SafetensorsDtype::kF8E4M3, at::kFloat8_e4m3fn},
    {SafetensorsDtype::kF8E5M2, at::kFloat8_e5m2},
    {SafetensorsDtype::kU64, at::kUInt64},
    {SafetensorsDtype::kU32, at::kUInt32},
    {SafetensorsDtype::kU16, at::kUInt16},
};

std::vector<std::string> IndexedFiles(const std::string& folder, const std::string& index_path,
                                      std::map<std::string, std::string>* places) {
  const Json index = ReadJsonFile(index_path);
  const auto map = index.find("weight_map");
  if (!index.is_object() || map == index.end() || !map->is_object()) {
    throw FormatError(index_path, "weight_map", "is missing or not a JSON object");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos) {
      throw FormatError(index_path, tensor, "must name a file of the same folder");
    }
    names.insert(file.get<std::string>());
    (*places)[tensor] = file.get<std::string>();
  }
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    const std::string path = JoinPath(folder, name);
    if (!FileExists(path)) {
      throw FormatError(
          folder, name,
          Str("part of the checkpoint is missing; ", BaseName(index_path), " lists it"));
    }
    paths.push_back(path);
  }
  return paths;
}

}  // namespace

at::ScalarType MemoryDtype(SafetensorsDtype dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.file == dtype) return row.memory;
  }
  throw InternalError("a safetensors dtype without a counterpart");
}

SafetensorsDtype FileDtype(at::ScalarType dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.memory == dtype) return row.file;
  }
  throw InternalError(Str("dtype ", at::toString(dtype), " cannot be stored"));
}

TensorFile::TensorFile(const std::string& path)
    : path_(path), file_(path), header_(ParseSafetensorsHeader(file_.data(), file_.size(), path)) {}

Tensor TensorFile::Read(const std::string& name) const {
  const SafetensorsEntry* entry = header_.Find(name);
  if (entry == nullptr) throw FormatError(path_, Str("tensor '", name, "'"), "is not there");
  const Tensor tensor = at::empty(entry->shape, MemoryDtype(entry->dtype));
  CKV_CHECK(tensor.nbytes() == entry->size_bytes(), "tensor ", name, " of another size");
  if (entry->size_bytes() > 0) {
    std::memcpy(tensor.data_ptr(), file_.data() + entry->begin, entry->size_bytes());
  }
  return tensor;
}

uint64_t TensorFile::Hash(const std::string& name, uint64_t seed) const {
  const SafetensorsEntry* entry = header_.Find(name);
  CKV_CHECK(entry != nullptr, name);
  return HashWords(file_.data() + entry->begin, entry->size_bytes(), seed);
}

TensorFiles TensorFiles::OpenModel(const std::string& folder) {
  if (!HasPart(folder, "model")) {
    throw FormatError(folder, "",
                      "no weights: neither model.safetensors nor model.safetensors.index.json");
  }
  return OpenPart(folder, "model");
}

bool TensorFiles::HasPart(const std::string& folder, const std::string& stem) {
  return FileExists(JoinPath(folder, stem + ".safetensors")) ||
         FileExists(JoinPath(folder, stem + ".safetensors.index.json"));
}

TensorFiles TensorFiles::OpenPart(const std::string& folder, const std::string& stem) {
  const std::string single = JoinPath(folder, stem + ".safetensors");
  if (FileExists(single)) return TensorFiles({single});
  const std::string index_path = JoinPath(folder, stem + ".safetensors.index.json");
  if (!FileExists(index_path)) {
    throw FormatError(folder, stem + ".safetensors", "part of the checkpoint is missing");
  }
  std::map<std::string, std::string> places;
  TensorFiles files(IndexedFiles(folder, index_path, &places));
  for (const auto& [tensor, file] : places) {
    if (!files.Has(tensor) || BaseName(files.PathOf(tensor)) != file) {
      throw FormatError(JoinPath(folder, file), Str("tensor '", tensor, "'"),
                        Str("is not there, but ", BaseName(index_path), " lists it"));
    }
  }
  return files;
}

TensorFiles::TensorFiles(std::vector<std::string> paths) {
  for (const std::string& path : paths) {
    files_.emplace_back(path);
    for (const SafetensorsEntry& entry : files_.back().header().entries()) {
      if (!places_.emplace(entry.name, files_.size() - 1).second) {
        throw FormatError(path, Str("tensor '", entry.name, "'"),
                          Str("is also in ", PathOf(entry.name)));
      }
    }
  }
}

std::vector<std::string> TensorFiles::Names() const {
  std::vector<std::string> names;
  for (const auto& place : places_) names.push_back(place.first);
  return names;
}

const TensorFile& TensorFiles::FileOf(const std::string& name) const {
  const auto place = places_.find(name);
  if (place == places_.end()) {
    throw FormatError(files_.front().path(), Str("tensor '", name, "'"), "is not there");
  }
  return files_[place->second];
}

Tensor TensorFiles::Read(const std::string& name) const {
  const Tensor stored = FileOf(name).Read(name);
  const auto products = products_.find(name);
  if (products == products_.end()) return stored;
  Tensor sum = stored.to(at::kDouble);
  for (const Product& product : products->second) {
    sum.addmm_(product.left.to(at::kDouble), product.right.to(at::kDouble), /*beta=*/1.0,
               product.scale);
  }
  return sum.to(stored.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
}

void TensorFiles::AddProduct(const std::string& name, Tensor left, Tensor right, double scale) {
  CKV_CHECK(Has(name), name);
  products_[name].push_back({std::move(left), std::move(right), scale});
}

uint64_t TensorFiles::Hash() const {
  uint64_t hash = 0;
  for (const auto& place : places_) {
    const std::string& name = place.first;
    hash = Fnv1a64(
        Str(name, " ", at::IntArrayRef(Shape(name)), " ", at::toString(MemoryDtype(Dtype(name)))),
        hash);
    hash = FileOf(name).Hash(name, hash);
    const auto products = products_.find(name);
    if (products == products_.end()) continue;
    for (const Product& product : products->second) {
      hash = Fnv1a64(Str("+ ", product.scale), hash);
      for (const Tensor& part : {product.left, product.right}) {
        const Tensor bytes = part.contiguous();
        hash = HashWords(bytes.data_ptr(), bytes.nbytes(), hash);
      }
    }
  }
  return hash;
}

std::string TensorFiles::Metadata(const std::string& key) const {
  const std::map<std::string, std::string>& metadata = files_.front().header().metadata();
  const auto found = metadata.find(key);
  return found == metadata.end() ? "" : found->second;
}

const std::vector<int64_t>& TensorFiles::Shape(const std::string& name) const {
  return FileOf(name).header().Find(name)->shape;
}

SafetensorsDtype TensorFiles::Dtype(const std::string& name) const {
  return FileOf(name).header().Find(name)->dtype;
}

const std::string& TensorFiles::PathOf(const std::string& name) const {
  return FileOf(name).path();
}

void WriteTensors(const std::string& path, const NamedTensors& tensors,
                  const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsTensor> list;
  for (const auto& [name, tensor] : tensors) {
    list.push_back({name, FileDtype(tensor.scalar_type()), tensor.sizes().vec()});
  }
  SafetensorsWriter writer(path, list, metadata);
  for (const auto& [name, tensor] : tensors) {
    const Tensor local = tensor.detach().to(at::kCPU).contiguous();
    if (local.nbytes() > 0) writer.Write(name, local.data_ptr(), local.nbytes());
  }
  writer.Close();
}

}  // namespace ckv
