// Least squares by ensmallen's L-BFGS:  J(w) = |X w - y|² / n + penalty / 2 |w|²,  from w = 0.
// least_squares n d penalty iterations: reads the files x (n × d, row by row) and y, float64; prints one JSON object.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <ensmallen.hpp>

static arma::mat fromFile(const char* name, size_t rows, size_t columns) {
  arma::mat found(rows, columns);
  std::ifstream file(name, std::ios::binary);
  file.read(reinterpret_cast<char*>(found.memptr()), sizeof(double) * rows * columns);
  return found;
}

class LeastSquares {
 public:
  LeastSquares(const arma::mat& xt, const arma::vec& y, double penalty) : xt(xt), y(y), penalty(penalty) {}

  double Evaluate(const arma::mat& w) {
    arma::vec r = xt.t() * w - y;
    return arma::dot(r, r) / y.n_elem + 0.5 * penalty * arma::dot(w, w);
  }

  double EvaluateWithGradient(const arma::mat& w, arma::mat& g) {
    ++looks;
    arma::vec r = xt.t() * w - y;
    g = (2.0 / y.n_elem) * (xt * r) + penalty * w;
    return arma::dot(r, r) / y.n_elem + 0.5 * penalty * arma::dot(w, w);
  }

  void Gradient(const arma::mat& w, arma::mat& g) { EvaluateWithGradient(w, g); }

  size_t looks = 0;

 private:
  const arma::mat& xt;  // d × n: X as it lies in memory, row by row
  const arma::vec& y;
  double penalty;
};

int main(int, char** given) {
  const size_t n = std::strtoull(given[1], nullptr, 10), d = std::strtoull(given[2], nullptr, 10);
  const arma::mat xt = fromFile("x", d, n);
  const arma::vec y = fromFile("y", n, 1);
  LeastSquares problem(xt, y, std::atof(given[3]));
  ens::L_BFGS solver(10, std::strtoull(given[4], nullptr, 10));
  solver.MinGradientNorm() = 0.0;
  solver.Factr() = 0.0;
  arma::mat w(d, 1, arma::fill::zeros);
  const auto start = std::chrono::steady_clock::now();
  const double objective = solver.Optimize(problem, w);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  std::printf("{\"objective\": %.17g, \"evaluations\": %zu, \"seconds\": %.9g}\n", objective, problem.looks, taken.count());
}
