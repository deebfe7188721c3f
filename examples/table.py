"""A table with text, missing cells and a number to predict: what `fallline train` does, step by step."""

import numpy as np

import fallline as fl
from fallline.train.tabular import TableOptions, prepare

rng = np.random.default_rng(0)
n = 400
age = rng.uniform(18, 80, n).round()
town = rng.choice(["Ulm", "Linz", "Brno"], n)
rent = 400 + 3 * age + np.where(town == "Ulm", 150, 0) + rng.normal(0, 30, n)
table = fl.read_table({"age": [None if a > 75 else a for a in age], "town": town, "rent": rent})

run = prepare(table, "rent", TableOptions(hidden=(16,), epochs=60)).train()
for column in run.prepared.model.columns.describe():
    print(*column, sep=" | ")
print("network ", {k: round(v, 2) for k, v in run.metrics["test"].items()})
print("baseline", {k: round(v, 2) for k, v in run.baseline_metrics["test"].items()})
print("rent at 30 in Ulm:", run.fit.model.predict({"age": [30], "town": ["Ulm"]}).round())
