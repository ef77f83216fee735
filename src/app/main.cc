#include "app/command.h"

int main(int argc, char** argv) { return ckv::RunMain(argc, argv); }
