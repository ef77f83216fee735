// Writes all fixtures of tests/testdata/kv anew. Run by hand after a change of the cases.
#include "base/file.h"
#include "tests/model/fixtures.h"

int main() {
  for (const ckv::FixtureCase& fixture : ckv::FixtureCases()) {
    ckv::WriteFixture(fixture, ckv::JoinPath(ckv::FixtureRoot(), fixture.name));
  }
  return 0;
}
