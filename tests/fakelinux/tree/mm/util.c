#include <linux/mm.h>

int util(void)
{
	return 0;
}
