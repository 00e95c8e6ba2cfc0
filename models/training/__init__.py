"""Train value models and generators, and choose and judge the models that are kept."""
