"""Every error that Fallline raises on purpose. Each message says what was given, what was expected and what to do."""


class FalllineError(Exception):
    """Anything the user can mend; the command line prints it in one line and exits with status 2."""


class ShapeError(FalllineError, ValueError):
    """Arrays whose shapes do not fit together.   located: whether the message names the layer already"""

    located = False


class DtypeError(FalllineError, TypeError):
    """An array of a type that the operation does not take."""


class ConfigError(FalllineError, ValueError):
    """A record with a field outside its range, or records that do not belong together."""


class UnknownNameError(FalllineError, LookupError):
    """A name that no registry entry carries; the message holds the nearest ones."""


class GraphError(FalllineError, ValueError):
    """A program that breaks the rules of programs, or a Value used where an array is needed."""


class CompileError(FalllineError, ValueError):
    """Machine code that cannot be made or loaded here; the message holds what the compiler says."""


class DataError(FalllineError, ValueError):
    """A table, a column or a target that cannot be trained on as it is."""


class ModelFileError(FalllineError, ValueError):
    """A file that is not a whole Fallline model."""


class NonFiniteError(FalllineError, ArithmeticError):
    """Training met NaN or infinity; the message says where it appeared first."""
