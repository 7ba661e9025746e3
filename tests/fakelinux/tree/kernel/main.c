#include <linux/mm.h>

int main_loop(void)
{
	return 0;
}
