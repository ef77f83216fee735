#include "data/stories.h"

#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "data/story_plots.h"

namespace ckv {

Story MakeStory(uint64_t seed, uint64_t index) {
  Random random(MixBits(MixBits(seed) ^ index));
  const std::vector<StoryPlot>& plots = AllStoryPlots();
  const StoryPlot& plot = plots[random.Below(plots.size())];
  const bool animals = random.Uniform() < 0.33 && !plot.people_only;
  StoryWorld world(&random, animals);
  StoryWriter writer(&random);
  Story story;
  story.plot = plot.name;
  StoryTelling telling = {world, writer, story};
  plot.tell(telling);
  story.text = writer.text();
  return story;
}

std::vector<std::string> StoryPlots() {
  std::vector<std::string> names;
  for (const StoryPlot& plot : AllStoryPlots()) names.emplace_back(plot.name);
  return names;
}

void WriteStories(int64_t count, uint64_t seed, const std::string& path) {
  const std::string temporary = Str(path, ".tmp.", ::getpid());
  try {
    FileWriter writer(temporary);
    for (int64_t i = 0; i < count; ++i) {
      writer.Write(MakeStory(seed, static_cast<uint64_t>(i)).text);
      writer.Write("\n<|endoftext|>\n");
    }
    writer.Close();
    RenameDurably(temporary, path);
  } catch (...) {
    RemoveAll(temporary);
    throw;
  }
}

}  // namespace ckv
