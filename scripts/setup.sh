#!/usr/bin/env bash
# Installs what building, testing and running CrossKV needs, and says what it does. Repeatable: what
# is there is left alone, and what an interrupted call left half done is completed.
#
# usage: scripts/setup.sh [--required-only] [--tests | --all-tests]
#
#   --required-only   does not try to install optional packages (hosts without internet)
#   --tests           also Python packages that the fast tests use: tensorboard
#   --all-tests       also those of the slow ones: transformers, sentencepiece, lm-eval
#
# 1. Packages of Debian 12 or Ubuntu 24.04, as root or through sudo. Required ones must be there in
#    the end; optional ones that cannot be had are left out with a line.
# 2. LibTorch: the wheel torch==2.11.0. From CKV_TORCH if that is set (a virtual environment, or an
#    interpreter; a folder that does not exist becomes a virtual environment); else from .venv; else
#    from the python3 on PATH if it has that version; else it is installed into .venv.
#
# 3. With --tests or --all-tests: the virtual environment build/test-venv with pinned packages. It
#    sees LibTorch's torch without a copy of its own. Optional: where the packages cannot be had, the
#    tests that need them are skipped.
#
# Writes the chosen interpreter to build/torch-python.
#
# Exit codes: 0 done; 1 an installation failed; 2 wrong usage; 3 required packages are missing and
# cannot be installed here (no root or sudo, or no apt-get); 4 CKV_TORCH cannot be used.
source "$(dirname "$0")/common.sh"

TORCH_VERSION=2.11.0
EXIT_FAILED=1 EXIT_USAGE=2 EXIT_PACKAGES=3 EXIT_CKV_TORCH=4

required_only=no
test_tools=()
for argument in "$@"; do
  case $argument in
    --required-only) required_only=yes ;;
    --tests) test_tools=("$TEST_TOOLS_FAST") ;;
    --all-tests)
      test_tools=("$TEST_TOOLS_FAST" "$TEST_TOOLS_SLOW" "$TEST_TOOLS_HARNESS") ;;
    -h | --help) print_help && exit 0 ;;
    *) fail $EXIT_USAGE "unknown argument '$argument'" ;;
  esac
done

# package=what shows that it is there without the package: a command on PATH or a header.
REQUIRED=(
  "g++=g++" cmake=cmake ninja-build=ninja python3=python3
  libyaml-cpp-dev=yaml-cpp/yaml.h libcli11-dev=CLI/CLI.hpp nlohmann-json3-dev=nlohmann/json.hpp
  libsentencepiece-dev=sentencepiece_trainer.h
  libgtest-dev=gtest/gtest.h libgmock-dev=gmock/gmock.h
)
OPTIONAL=(
  ccache=ccache libzstd-dev=zstd.h zlib1g-dev=zlib.h libgloo-dev=gloo/algorithm.h
  libflint-dev=flint/fmpz.h libflint-arb-dev=acb.h
  sentencepiece=spm_train gnuplot-nox=gnuplot clang-format-14=clang-format-14 shellcheck=shellcheck
)
# What pip installs for each set of test tools.
declare -A TEST_TOOLS=(
  ["$TEST_TOOLS_FAST"]="tensorboard==2.20.0"
  ["$TEST_TOOLS_SLOW"]="transformers==4.57.6 sentencepiece==0.2.1 protobuf==6.33.1 safetensors==0.7.0"
  ["$TEST_TOOLS_HARNESS"]="lm-eval==0.4.13 datasets==4.4.1 transformers==4.57.6 psutil==7.2.2"
)
# Those that would bring a torch of their own, so that what they need is listed above.
declare -A TEST_TOOLS_ALONE=(["$TEST_TOOLS_HARNESS"]="accelerate==1.12.0")
# Sets of test tools that could not be installed.
TOOLS_LEFT_OUT_FILE=$ROOT/build/test-tools-left-out
# Optional packages that could not be installed, so that a second call does not try again.
LEFT_OUT_FILE=$ROOT/build/packages-left-out

mkdir -p build
exec 9>build/setup.lock
flock 9  # one call at a time

# --- the interpreter -----------------------------------------------------------------------------

# "VERSION KIND" of torch in interpreter $1 (torch_state.py), or nothing if it does not run.
torch_state() { "$1" scripts/torch_state.py 2>/dev/null || true; }

marker_of() { echo "$("$1" -c 'import sys; print(sys.prefix)')/.ckv-torch"; }

# True if the virtual environment of interpreter $1 was completed by this script.
is_marked() {
  local marker
  marker=$(marker_of "$1")
  [[ -f $marker && $(<"$marker") == "$TORCH_VERSION" ]]
}

# `managed`: torch is installed into this virtual environment and checked by this script.
venv_dir=$ROOT/.venv
python=
managed=yes
if [[ -n ${CKV_TORCH-} ]]; then
  venv_dir=$CKV_TORCH
  if [[ -f $CKV_TORCH && -x $CKV_TORCH ]]; then
    python=$CKV_TORCH
  elif [[ -x $CKV_TORCH/bin/python3 ]]; then
    python=$CKV_TORCH/bin/python3
  elif [[ -f $CKV_TORCH ]] || [[ -d $CKV_TORCH && -n $(ls -A "$CKV_TORCH") ]]; then
    fail $EXIT_CKV_TORCH "CKV_TORCH=$CKV_TORCH is neither a virtual environment nor an interpreter"
  fi
elif [[ -x .venv/bin/python3 && $(torch_state .venv/bin/python3) == "$TORCH_VERSION venv" ]]; then
  python=$venv_dir/bin/python3
elif command -v python3 >/dev/null && [[ $(torch_state python3) == "$TORCH_VERSION "* ]]; then
  python=$(python3 -c 'import sys; print(sys.executable)')
  managed=no
fi

# A new virtual environment is made by the distribution's own python3 where there is one.
base_python=/usr/bin/python3
if [[ ! -x $base_python ]]; then base_python=$(command -v python3 || echo /usr/bin/python3); fi
if [[ -z $python && $base_python == /usr/bin/python3 ]]; then REQUIRED+=(python3-venv=:ensurepip); fi

# --- packages ------------------------------------------------------------------------------------

# True if $1, a command, a header or ":" and a Python module, is there.
is_present() {
  local folder
  case $1 in
    :*) "$base_python" -c "import venv, ${1#:}" 2>/dev/null ;;
    *.h | *.hpp)
      for folder in /usr/include /usr/local/include; do
        if [[ -f $folder/$1 ]]; then return 0; fi
      done
      return 1
      ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

# Prints the packages among the entries $@ that are not there.
missing_of() {
  local installed='' entry
  if command -v dpkg-query >/dev/null; then
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${@%%=*}" 2>/dev/null || true)
  fi
  for entry in "$@"; do
    if ! grep -qxF "${entry%%=*} installed" <<<"$installed" && ! is_present "${entry#*=}"; then
      echo "${entry%%=*}"
    fi
  done
}

apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@"
}

# Installs the packages $@; what apt prints is shown only if it fails.
install_packages() {
  local log
  log=$(mktemp)
  if ! apt install -y --no-install-recommends "$@" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

mapfile -t missing < <(missing_of "${REQUIRED[@]}")
mapfile -t wanted < <(missing_of "${OPTIONAL[@]}")
mapfile -t left_out < <(cat "$LEFT_OUT_FILE" 2>/dev/null || true)
to_try=()
if [[ $required_only == no ]]; then
  mapfile -t to_try < <(printf '%s\n' "${wanted[@]}" | grep -vxF "${left_out[@]/#/-e}" -e '' || true)
fi

can_install=no
as_root=()
if command -v apt-get >/dev/null; then
  if [[ $(id -u) == 0 ]]; then
    can_install=yes
  elif command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
    can_install=yes
    as_root=(sudo)
  fi
fi

if [[ $can_install == yes && $((${#missing[@]} + ${#to_try[@]})) -gt 0 ]]; then
  say "fetching the lists of packages (apt-get update)"
  apt update -o Acquire::Retries=0 -o Acquire::http::Timeout=20 ||
    say "apt-get update failed; going on with the lists that are there"
  if ((${#missing[@]})); then
    say "installing ${missing[*]}"
    install_packages "${missing[@]}" || fail $EXIT_FAILED "apt-get could not install ${missing[*]}"
  fi
  # What the distribution does not have must not stop the others.
  available=()
  for package in "${to_try[@]}"; do
    if apt-cache show "$package" >/dev/null 2>&1; then
      available+=("$package")
    else
      echo "$package" >>"$LEFT_OUT_FILE"
    fi
  done
  if ((${#available[@]})); then
    say "installing ${available[*]} (optional)"
    if ! install_packages "${available[@]}"; then
      for package in "${available[@]}"; do
        install_packages "$package" || echo "$package" >>"$LEFT_OUT_FILE"
      done
    fi
  fi
  mapfile -t wanted < <(missing_of "${OPTIONAL[@]}")
elif ((${#missing[@]})); then
  fail $EXIT_PACKAGES "missing, and there is no root, sudo or apt-get to install them: ${missing[*]}"
fi
say "packages: all required ones are there"
if ((${#wanted[@]})); then
  hint=
  if [[ -f $LEFT_OUT_FILE ]]; then hint="; remove ${LEFT_OUT_FILE#"$ROOT"/} to try again"; fi
  say "packages: done without ${wanted[*]} (optional$hint)"
fi

cmake_version=$(cmake --version | sed -n 's/^cmake version //p')
if [[ $(printf '%s\n' 3.25 "$cmake_version" | sort -V | head -n 1) != 3.25 ]]; then
  fail $EXIT_FAILED "cmake $cmake_version is too old: 3.25 or newer is needed"
fi

# --- LibTorch ------------------------------------------------------------------------------------

# Makes the virtual environment $1, unless it has an interpreter with pip.
make_venv() {
  if [[ -x $1/bin/python3 ]] && "$1/bin/python3" -m pip --version >/dev/null 2>&1; then return; fi
  say "making the virtual environment $1"
  # --clear: what an interrupted call left there may not work.
  "$base_python" -m venv --clear "$1" || fail $EXIT_FAILED "cannot make $1"
}

pip_install() {
  "$python" -m pip install --quiet --disable-pip-version-check --no-input "$@" ||
    fail $EXIT_FAILED "pip could not install ${*: -1}"
}

# Brings $python's virtual environment to the pinned torch with all its files, and marks it.
complete_torch() {
  local broken
  if [[ $(torch_state "$python") != "$TORCH_VERSION "* ]]; then
    say "installing torch==$TORCH_VERSION (about 3 GB to fetch, 5 GB on disk)"
    pip_install "torch==$TORCH_VERSION"
  fi
  say "checking the files of torch and of what it needs"
  mapfile -t broken < <("$python" scripts/torch_state.py --broken)
  if ((${#broken[@]})); then
    say "files are missing; installing again: ${broken[*]}"
    # Not --force-reinstall: it would first uninstall, which takes the very list that is missing.
    pip_install --ignore-installed --no-deps "${broken[@]}"
    mapfile -t broken < <("$python" scripts/torch_state.py --broken)
    if ((${#broken[@]})); then fail $EXIT_FAILED "files are still missing of ${broken[*]}"; fi
  fi
  echo "$TORCH_VERSION" >"$(marker_of "$python")"
}

if [[ -z $python ]]; then
  make_venv "$venv_dir"
  python=$venv_dir/bin/python3
fi
read -r version kind <<<"$(torch_state "$python")" || true
if [[ -z $version ]]; then fail $EXIT_CKV_TORCH "$python does not run"; fi
if [[ -n ${CKV_TORCH-} && $version != "$TORCH_VERSION" && "$version $kind" != "none venv" ]]; then
  fail $EXIT_CKV_TORCH "CKV_TORCH=$CKV_TORCH must have torch $TORCH_VERSION, or be a virtual" \
    "environment without torch to install it into; found: torch $version, ${kind/system/no virtual environment}"
fi
if [[ $managed == yes && $kind == venv ]] && ! is_marked "$python"; then
  if [[ -w $(dirname "$(marker_of "$python")") ]]; then
    complete_torch
  elif [[ $version == none ]]; then
    fail $EXIT_CKV_TORCH "$python has no torch, and its environment cannot be written to"
  fi
fi

if [[ ! -f $TORCH_PYTHON_FILE || $(<"$TORCH_PYTHON_FILE") != "$python" ]]; then
  echo "$python" >"$TORCH_PYTHON_FILE"
fi
say "LibTorch $TORCH_VERSION of $python"

# --- tools of the tests --------------------------------------------------------------------------

# Installs the set $1 into build/test-venv; leaves the set's name in the environment when complete.
install_test_tools() {
  local log packages
  read -ra packages <<<"${TEST_TOOLS[$1]}"
  if [[ ! -x $TEST_VENV/bin/python3 ]]; then
    # Of the same interpreter as torch, whose compiled modules it is to load.
    "$python" -m venv --clear "$TEST_VENV" >/dev/null 2>&1 || return 1
  fi
  say "installing ${packages[*]} into ${TEST_VENV#"$ROOT"/} (optional, for tests)"
  log=$(mktemp)
  local pip=("$TEST_VENV/bin/python3" -m pip install --quiet --disable-pip-version-check
    --no-input --retries 1 --timeout 20)
  if ! "${pip[@]}" "${packages[@]}" >"$log" 2>&1 || { [[ -n ${TEST_TOOLS_ALONE[$1]-} ]] &&
    ! "${pip[@]}" --no-deps "${TEST_TOOLS_ALONE[$1]}" >"$log" 2>&1; }; then
    cat "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
  # Packages of torch's environment come behind those of this one.
  "$python" -c 'from importlib.util import find_spec; print(find_spec("torch").origin[:-18])' \
    >"$("$TEST_VENV/bin/python3" -c 'import site; print(site.getsitepackages()[0])')/torch.pth"
  echo "$python ${TEST_TOOLS[$1]}" >"$TEST_VENV/$1"
}

for tools in "${test_tools[@]}"; do
  if [[ -f $TEST_VENV/$tools && $(<"$TEST_VENV/$tools") == "$python ${TEST_TOOLS[$tools]}" ]]; then
    continue
  elif grep -qxF "$tools" "$TOOLS_LEFT_OUT_FILE" 2>/dev/null; then
    say "tests: done without $tools (optional; remove ${TOOLS_LEFT_OUT_FILE#"$ROOT"/} to try again)"
  elif ! install_test_tools "$tools"; then
    echo "$tools" >>"$TOOLS_LEFT_OUT_FILE"
    say "tests: $tools could not be installed; the tests that need it are skipped"
  fi
done
