#include "../../examples/image_folder.hpp"

#include <map>
#include <set>

#include <gtest/gtest.h>

#include <exfusion/io/vit.hpp>

#include "examples/picture_support.hpp"
#include "examples/run_program.hpp"
#include "temporary_folder.hpp"

namespace exfusion::examples {
namespace {

using testing::gradient, testing::jpeg_file, testing::png_file, testing::TemporaryFolder;
using Names = std::vector<std::string>;

void put(const TemporaryFolder& folder, const std::string& name, const std::string& content) {
  std::filesystem::create_directories((folder / name).parent_path());
  folder.file(name, content);
}

/// Pictures of one colour, which tells them apart after any change of size.
std::string one_colour(int red) {
  data::Picture picture{.height = 6, .width = 9, .pixels = {}};
  for (int i = 0; i < 6 * 9; ++i)
    picture.pixels.insert(picture.pixels.end(), {static_cast<std::uint8_t>(red), 20, 30});
  return png_file(picture);
}

std::string refusal(const std::filesystem::path& folder, Index size = 4) {
  try {
    load_image_folder(folder, size);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

bool says(const std::string& message, const std::string& text) {
  return message.find(text) != std::string::npos;
}

TEST(ImageFolder, ReadsTheLayoutOfTrainAndVal) {
  const TemporaryFolder folder;
  put(folder, "train/dog/b.PNG", one_colour(3));
  put(folder, "train/dog/deeper/a.png", one_colour(2));
  put(folder, "train/cat/x.png", one_colour(1));
  put(folder, "train/.hidden/x.txt", "");
  put(folder, "train/cat/.DS_Store", "");
  put(folder, "val/dog/y.jpeg", jpeg_file(9, 6, TJPF_RGB, gradient(6, 9).pixels));
  const auto images = load_image_folder(folder.path(), 4);
  EXPECT_EQ(images.train.class_names, (Names{"cat", "dog"}));
  EXPECT_EQ(images.train.labels, (std::vector<std::int32_t>{0, 1, 1}));
  EXPECT_EQ(images.test.labels, (std::vector<std::int32_t>{1}));
  EXPECT_EQ(images.train.channels, 3);
  EXPECT_EQ(images.train.height, 4);
  for (const auto& [index, red] : {std::pair{0, 1}, {1, 3}, {2, 2}}) {
    const auto image = images.train.image(index);
    ASSERT_EQ(image.size(), 3U * 16);
    EXPECT_EQ(image[0], red);
    EXPECT_EQ(image[15], red);
    EXPECT_EQ(image[16], 20);
    EXPECT_EQ(image[47], 30);
  }
  EXPECT_TRUE(says(images.description, "3 training images, 1 test images, 2 classes")) << images.description;
}

TEST(ImageFolder, TakesTestForVal) {
  const TemporaryFolder folder;
  put(folder, "train/a/x.png", one_colour(1));
  put(folder, "test/a/x.png", one_colour(2));
  EXPECT_EQ(load_image_folder(folder.path(), 2).test.count(), 1);
}

TEST(ImageFolder, FollowsLinksAndPassesHiddenFoldersOver) {
  const TemporaryFolder folder, elsewhere;
  put(folder, "train/a/x.png", one_colour(1));
  put(folder, "train/a/.cache/y.txt", "");
  put(elsewhere, "more/z.png", one_colour(2));
  std::filesystem::create_directory_symlink(elsewhere / "more", folder / "train/a/more");
  put(folder, "val/a/x.png", one_colour(3));
  EXPECT_EQ(load_image_folder(folder.path(), 1).train.count(), 2);
}

TEST(ImageFolder, AClassMayBeCalledTrain) {
  const TemporaryFolder folder;
  for (int i = 0; i < 40; ++i)
    put(folder, (i % 2 == 0 ? "train/" : "plane/") + std::to_string(i) + ".png", one_colour(i));
  EXPECT_EQ(load_image_folder(folder.path(), 1).train.class_names, (Names{"plane", "train"}));
}

TEST(ImageFolder, KeepsATenthThatNewFilesDoNotMove) {
  const TemporaryFolder folder;
  const auto reds = [](const data::ImageDataset& images) {
    std::set<int> found;
    for (Index i = 0; i < images.count(); ++i) found.insert(images.image(i)[0]);
    return found;
  };
  for (int i = 0; i < 200; ++i)
    put(folder, (i % 2 == 0 ? "a/" : "b/") + std::to_string(i) + ".png", one_colour(i));
  const auto before = load_image_folder(folder.path(), 1);
  EXPECT_EQ(before.train.count() + before.test.count(), 200);
  EXPECT_NEAR(static_cast<double>(before.test.count()), 20, 12);
  put(folder, "a/0000.png", one_colour(250));
  const auto after = load_image_folder(folder.path(), 1);
  auto kept = reds(after.test);
  kept.erase(250);
  EXPECT_EQ(kept, reds(before.test));
}

TEST(ImageFolder, NamesTheFileThatIsWrong) {
  const TemporaryFolder folder;
  put(folder, "train/a/x.png", one_colour(1));
  put(folder, "val/a/x.png", one_colour(1));
  EXPECT_EQ(refusal(folder.path()), "");
  put(folder, "train/a/y.png", "no picture");
  EXPECT_TRUE(says(refusal(folder.path()), "train/a/y.png] is neither a PNG nor a JPEG file"))
      << refusal(folder.path());
  std::filesystem::remove(folder / "train/a/y.png");
  put(folder, "train/a/notes.txt", "");
  EXPECT_TRUE(says(refusal(folder.path()), "notes.txt] is no .png, .jpg or .jpeg file"))
      << refusal(folder.path());
  std::filesystem::remove(folder / "train/a/notes.txt");
  put(folder, "val/b/x.png", one_colour(1));
  EXPECT_TRUE(says(refusal(folder.path()), "val/b] is a class that the training pictures lack"))
      << refusal(folder.path());
}

TEST(ImageFolder, RefusesFoldersWithoutPictures) {
  const TemporaryFolder folder;
  EXPECT_TRUE(says(refusal(folder.path()), "one for each class is needed"));
  EXPECT_TRUE(says(refusal(folder / "absent"), "absent"));
  put(folder, "train/a/x.png", one_colour(1));
  EXPECT_TRUE(says(refusal(folder.path()), "has a folder train, but neither val nor test"))
      << refusal(folder.path());
  std::filesystem::create_directories(folder / "val/a");
  EXPECT_TRUE(says(refusal(folder.path()), "has 1 pictures to train and 0 to validate"));
  EXPECT_TRUE(says(refusal(folder.path(), 0), "it must be 1 to 4096"));
}

TEST(ImageFolder, TrainsAndIsEvaluatedUnderTheNamesOfItsClasses) {
  const TemporaryFolder folder;
  for (int i = 0; i < 12; ++i) {
    for (const char* part : {"train", "val"}) {
      put(folder,
          std::string("pictures/") + part + (i % 2 == 0 ? "/cat/" : "/dog/") + std::to_string(i) + ".png",
          png_file(gradient(20, 24, i)));
    }
  }
  const Names small{"--data",       "folder:pictures",
                    "--image-size", "16",
                    "--patch",      "8",
                    "--layers",     "1",
                    "--heads",      "1",
                    "--d-model",    "8",
                    "--batch",      "4",
                    "--steps",      "2",
                    "--out",        "run"};
  const auto trained = testing::run_program(folder.path(), "train_vit", small);
  ASSERT_EQ(trained.exit_code, 0) << trained.error;
  EXPECT_TRUE(says(trained.out, "12 training images, 12 test images, 2 classes")) << trained.out;
  EXPECT_EQ(io::read_vit_labels(io::JsonConfig(folder / "run/config.json")), (Names{"cat", "dog"}));
  const auto again = testing::run_program(
      folder.path(), "train_vit",
      {"--init-from", "run", "--data", "folder:pictures", "--steps", "1", "--batch", "4"});
  EXPECT_EQ(again.exit_code, 0) << again.error;
  const auto evaluated =
      testing::run_program(folder.path(), "evaluate", {"run", "--data", "folder:pictures"});
  EXPECT_EQ(evaluated.exit_code, 0) << evaluated.error;
  EXPECT_TRUE(says(evaluated.out, "images: 12")) << evaluated.out;
  const auto refused =
      testing::run_program(folder.path(), "train_vit", {"--image-size", "16", "--steps", "1"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_TRUE(says(refused.error, "has no effect without --data folder:DIR")) << refused.error;
}

}  // namespace
}  // namespace exfusion::examples
