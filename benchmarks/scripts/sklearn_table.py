"""sklearn_table.py CSV TARGET OPTIONS: from a file to a judged classifier, by pandas and scikit-learn.

OPTIONS  JSON: hidden, batch_size, epochs, train_rows
"""

import json
import sys
import warnings

import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

warnings.simplefilter("ignore")
path, target, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
table = pd.read_csv(path)
x, y = table.drop(columns=target), table[target]
x_train, x_test, y_train, y_test = train_test_split(x, y, train_size=options["train_rows"], stratify=y, random_state=0)
columns = make_column_transformer(
    (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")),
    (
        make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
        make_column_selector(dtype_exclude="number"),
    ),
)
epochs = options["epochs"]
network = MLPClassifier(
    tuple(options["hidden"]),
    batch_size=options["batch_size"],
    max_iter=epochs,
    tol=0.0,
    n_iter_no_change=epochs + 1,
    random_state=0,
)
model = make_pipeline(columns, network).fit(x_train, y_train)
print(json.dumps({"accuracy": model.score(x_test, y_test)}))
