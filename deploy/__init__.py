"""What is installed beside the processes to watch them."""
