#define PAGES 16
