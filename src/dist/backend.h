// The libraries of collectives that LibTorch holds, behind one interface of c10d.
#pragma once

#include <chrono>
#include <string>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "dist/config.h"
#include "dist/launch.h"

namespace ckv {

// "nccl" or "gloo". Throws ConfigError for one that this program was built without or that does not
// go with the device.
std::string ChooseBackend(const DistConfig& config, const at::Device& device);

// The store by which the processes find each other. Throws DistError if it cannot be reached.
c10::intrusive_ptr<c10d::Store> OpenStore(const Launch& launch, std::chrono::milliseconds timeout);

// The group of all processes; returns when all have joined.
c10::intrusive_ptr<c10d::Backend> OpenBackend(const std::string& name, const Launch& launch,
                                              const c10::intrusive_ptr<c10d::Store>& store,
                                              std::chrono::milliseconds timeout);

// The address by which the other ranks find this host: the one that packets to the master leave
// from.
std::string LocalAddress(const Launch& launch);

}  // namespace ckv
