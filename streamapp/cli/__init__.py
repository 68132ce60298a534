"""How people drive streamapp: the command line."""
