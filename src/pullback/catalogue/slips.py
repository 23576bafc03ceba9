"""Where the sources slip: what they say, what is right, and the test that shows it.

Each passage was read again before it is cited here. What the context shows to be a slip of the
transcription alone is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

TESTS = "tests/test_slips.py"


@dataclass(frozen=True)
class Slip:
    """One slip.

    Attributes:
        id: names it, and its test.
        source: the name of the source.
        place: where in it.
        says: what the source says.
        right: what is right, and what is done here.
        why: the reason, and what the slip costs.
    """

    id: str
    source: str
    place: str
    says: str
    right: str
    why: str

    @property
    def test(self) -> str:
        """The test that shows the right version right and the slip wrong."""
        return f"{TESTS}::test_{self.id}"


CA6 = "CA6"
NOTES = "Neural Networks (the notes)"
SHEETS = "the sheets"
SLIDES = "Training Deep Nets (the slides)"
IFT = "IFT6390 homework 3"

SLIPS = (
    Slip(
        "softmax_needs_its_whole_jacobian",
        CA6,
        "eq. (3)–(6), with a softmax at layer J",
        "The derivative of every activation is a diagonal matrix, Diag(g(h)).",
        "Every output of a softmax depends on every input: the Jacobian is diag(y) − y yᵀ.",
        "The diagonal alone is the derivative of no function; the gradient of every layer below it "
        "is wrong.",
    ),
    Slip(
        "accuracy_counts_matches",
        CA6,
        "§1.2, the classification accuracy ρ",
        "The accuracy is the share of mismatches: the indicator is 0 where the prediction is the "
        "true class, else 1.",
        "The accuracy is the share of matches, as the figures of CA6 show it too.",
        "As it is defined, a perfect classifier has accuracy 0.",
    ),
    Slip(
        "error_counts_mismatches",
        NOTES,
        "§4, the error function ε(x, y)",
        "The error of an example is 1 if y = ŷ(x), else 0.",
        "It is 1 if y ≠ ŷ(x), else 0.",
        "As it is defined, a perfect model has error 1, and every rule about bias and variance "
        "that follows would be turned round.",
    ),
    Slip(
        "logistic_gradient_is_a_mean_over_examples",
        NOTES,
        "§1.2, cost_function, lines 53 and 55",
        "dw and db are divided by m, the number of features.",
        "They are divided by n, the number of examples, as the cost in line 50 is.",
        "The gradient is off by n/m, so that the learning rate means something else for every data "
        "set.",
    ),
    Slip(
        "l2_does_not_depend_on_the_batch",
        NOTES,
        "§5, R(W), and §7 with |𝕏ᵏ| of a mini-batch in the place of N",
        "The penalty is λ/(2N) Σ w², and on a mini-batch λ/(2 |𝕏ᵏ|) Σ w².",
        "A penalty is a function of the weights alone: λ/2 Σ w².",
        "Halving the batch doubles the penalty, and the smaller last batch of an epoch is "
        "penalised more than the others.",
    ),
    Slip(
        "every_step_has_its_own_mask",
        NOTES,
        "§5.2.1, the dropout matrices, line 22",
        "np.random.seed(1) before the masks are drawn.",
        "Each layer and each step has a key of its own.",
        "With one seed every step drops the same units: they are never trained, and the others "
        "train a smaller network without any dropout.",
    ),
    Slip(
        "eps_is_outside_the_root",
        NOTES,
        "§7.3 and §7.4 against §7.6, line 220",
        "The text divides by √(S + ε), the program by √S + ε, both with ε = 10⁻⁸.",
        "One form has to be named: ε outside the root, as in Algorithm 1 of Kingma & Ba.",
        "√10⁻⁸ is 10⁻⁴, not 10⁻⁸: for small gradients the two steps differ ten-thousandfold.",
    ),
    Slip(
        "adam_corrects_a_copy_of_its_moments",
        NOTES,
        "§7.6, lines 117, 120, 157 and 160",
        "vw[l] /= (1 - beta1 ** update_iter), in place: the next step starts from the corrected "
        "moment.",
        "The corrected moments are used in the step and forgotten; the running ones are kept.",
        "The correction is applied again and again: at each step the running mean weighs "
        "1/(1 − β₁ᵗ) times too much.",
    ),
    Slip(
        "adam_counts_every_step",
        NOTES,
        "§7.6, line 201",
        "update_iter = epoch + batch_iter",
        "t counts the updates made so far: epoch · batches + batch.",
        "t falls back at the start of each epoch, and the correction of moments that are warm "
        "begins again.",
    ),
    Slip(
        "batch_normalisation_couples_the_examples",
        NOTES,
        "§9.1, Corollary 9.2 and ∂G/∂A",
        "The derivative of the loss by z_α goes through the normalised example α alone.",
        "μ and σ of the batch carry z_α to every example: dx takes sums over the batch. §9.5 of "
        "the notes has them.",
        "The terms of the other examples are missing; the gradient fails the check.",
    ),
    Slip(
        "the_reverse_of_a_normalisation_has_plus_eps",
        NOTES,
        "§9.5, the maps θ and Θ",
        "(σ² − ε)^(−1/2) and (σ² − ε)^(−3/2)",
        "(σ² + ε), as in the forward pass and in the lines before.",
        "Value and derivative are of different functions, and for σ² < ε the root is not real.",
    ),
    Slip(
        "descent_goes_down",
        SHEETS,
        "optimisers, GD and SGD",
        "θ ← θ + ε ∇J(θ)",
        "θ ← θ − ε ∇J(θ), as the sheets' own momentum updates have it.",
        "The step with a plus climbs.",
    ),
    Slip(
        "the_cubic_term_of_gelu",
        SHEETS,
        "activations, “Gradient Error Linear Unit”",
        "0.5 x (1 + tanh(√(2/π) (x + 0.045 x³)))",
        "0.044715 x³, and the name is Gaussian error linear unit (Hendrycks & Gimpel 2016).",
        "Rounded, the approximation is further from x Φ(x), and weights trained elsewhere give "
        "other outputs.",
    ),
    Slip(
        "the_bent_identity_is_halved",
        SHEETS,
        "table of activations, bent identity",
        "f(x) = √(x² + 1) − 1 + x, with f′(x) = x/(2√(x² + 1)) + 1",
        "f(x) = (√(x² + 1) − 1)/2 + x, whose derivative this is.",
        "Value and derivative are of different functions; without the half, f is flat far below 0.",
    ),
    Slip(
        "the_soft_exponential_is_continuous_in_alpha",
        SHEETS,
        "table of activations, soft exponential for α > 0",
        "(e^(αx) − 1)/α",
        "(e^(αx) − 1)/α + α (Godfrey & Gashler 2015, eq. 1).",
        "Without “+ α” the derivative by α jumps from x²/2 to 1 + x²/2 where α passes 0, and α is "
        "learned.",
    ),
    Slip(
        "cross_entropy_has_a_minus",
        SHEETS,
        "two-tower network, a)",
        "L = y log ŷ + (1 − y) log(1 − ŷ)",
        "L = −(y log ŷ + (1 − y) log(1 − ŷ)). The sheets bring the minus in at the end, with the "
        "mean; the cotangents δ before that have the other sign.",
        "What the derivation calls the loss is the likelihood: going down it makes the predictions "
        "worse.",
    ),
    Slip(
        "the_second_tower_is_subtracted",
        SHEETS,
        "two-tower network, e), with z = z₁ − z₂",
        "∂L/∂h_q = σ(h_q) δ_z, as ∂L/∂h_p = σ(h_p) δ_z.",
        "∂L/∂h_q = −σ(h_q) δ_z: the derivative of a difference by what it subtracts is −1.",
        "The shared weights are told to move both towers alike, where they have to move them "
        "apart.",
    ),
    Slip(
        "ridge_has_half_its_strength_beside_a_whole_square",
        SLIDES,
        "geometric interpretation of L² regularisation",
        "(Xw − y)ᵀ(Xw − y) + ½ α wᵀw has its least value at (XᵀX + αI)⁻¹ Xᵀy.",
        "At (XᵀX + ½αI)⁻¹ Xᵀy; the other is that of ½ ‖Xw − y‖² + ½ α ‖w‖².",
        "The weights are shrunk as by twice the strength.",
    ),
    Slip(
        "soft_thresholding_starts_at_the_optimum",
        SLIDES,
        "L¹ regularisation with a diagonal Hessian, the solution",
        "wᵢ = sign(wᵢ*) max(|wᵢ| − α/hᵢᵢ, 0)",
        "wᵢ = sign(wᵢ*) max(|wᵢ*| − α/hᵢᵢ, 0), where w* is the optimum without a penalty.",
        "The solution is given by itself: for α > 0 only wᵢ = 0 solves the equation as it stands.",
    ),
    Slip(
        "log_sigmoid_is_minus_softplus",
        IFT,
        "theoretical part, eq. (1.12)",
        "ln sigmoid(x) = −softmax(−x)",
        "ln sigmoid(x) = −softplus(−x)",
        "softplus(x) = ln(1 + eˣ) is a function of one number; the softmax of one number is 1.",
    ),
    Slip(
        "the_gradient_of_a_norm_is_a_vector",
        IFT,
        "theoretical part, eq. (1.36), (1.39) and (1.40)",
        "∂‖x‖²/∂x = Σ 2 xᵢ and ∂‖x‖₁/∂x = Σ sign(xᵢ)",
        "The vectors 2 x and sign(x): entry i is the derivative by xᵢ.",
        "A sum would give every weight the same step.",
    ),
    Slip(
        "weights_have_the_shape_that_their_product_needs",
        IFT,
        "theoretical part, 2.2 and eq. (2.4)",
        "W⁽²⁾ ∈ ℝ^(m×d_h) in W⁽²⁾ᵀ hˢ, with hˢ ∈ ℝ^(d_h).",
        "W⁽²⁾ ∈ ℝ^(d_h×m), as in the program; here weight is (d_in, d_out) and y = x @ weight.",
        "Unless m = d_h, the product does not exist.",
    ),
    Slip(
        "the_softmax_is_shifted_row_by_row",
        IFT,
        "theoretical part, 2.8, _softmax; mended in §3.1.1",
        "np.exp(X - np.max(X)), divided by the sum of the whole array.",
        "Each row is shifted by its own maximum and divided by its own sum.",
        "Rows no longer sum to one, and a row far below the maximum becomes 0, whose logarithm is "
        "not finite.",
    ),
    Slip(
        "a_gradient_check_takes_a_relative_norm",
        IFT,
        "practical part, §3.1.3",
        "ratio = grad_fd / grad_bprop, refused if below 0.99 or above 1.01.",
        "‖a − n‖ / (‖a‖ + ‖n‖) below 10⁻⁷, with central differences, as in §6.1 of the notes.",
        "Where a derivative is 0 the ratio is nan, and nan passes both comparisons; beside "
        "rounding it is infinite, and a right derivative fails; and 1 % lets real faults through.",
    ),
    Slip(
        "glorot_counts_both_fans",
        IFT,
        "practical part, §3.1.2",
        "“Glorot initialization”: uniform on ±1/√n_in.",
        "Glorot & Bengio's is uniform on ±√(6/(n_in + n_out)); the other is here `FanInUniform`.",
        "The variance is 1/(3 n_in) instead of 2/(n_in + n_out): a third for square layers.",
    ),
)
