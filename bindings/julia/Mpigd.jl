"""
Models of mpigd by its C library: see mpigd.h for what functions compute. MPIGD_HOME is where libmpigd is installed.

Shapes are those of C in reverse, so that nothing is transposed: rows `x` (columns, n), one row of the table being one
column of `x`; `coef` (outputs, columns), `eta` (outputs, n).
"""
module Mpigd

export Model, eta, predict, predict_proba

const lib = joinpath(get(ENV, "MPIGD_HOME", "/usr/local"), "lib", "libmpigd")
const Number64or32 = Union{Float64,Float32}

struct Failure <: Exception
    status::Cint
    message::String
end

Base.showerror(io::IO, failure::Failure) = print(io, "mpigd: ", failure.message)

"Call `f` with the address of an error, and throw what is written there."
function checked(f)
    error = zeros(UInt8, 512)
    status = f(error)
    status == 0 || throw(Failure(status, GC.@preserve error unsafe_string(pointer(error))))
    return nothing
end

mutable struct Model
    handle::Ptr{Cvoid}

    "Read model.h5 of `mpigd train`."
    function Model(path::AbstractString)
        handle = Ref{Ptr{Cvoid}}(C_NULL)
        checked(error -> ccall((:mpigd_model_read, lib), Cint,
            (Cstring, Ref{Ptr{Cvoid}}, Ptr{UInt8}),
            path, handle, error))
        return finalizer(model -> ccall((:mpigd_model_free, lib), Cvoid, (Ptr{Cvoid},), model.handle), new(handle[]))
    end
end

# ccall takes a model for the address that it holds, and keeps it alive meanwhile.
Base.unsafe_convert(::Type{Ptr{Cvoid}}, model::Model) = model.handle

columns(model::Model) = ccall((:mpigd_model_columns, lib), Int64, (Ptr{Cvoid},), model)
outputs(model::Model) = ccall((:mpigd_model_outputs, lib), Int64, (Ptr{Cvoid},), model)
answers(model::Model) = ccall((:mpigd_model_answers, lib), Int64, (Ptr{Cvoid},), model)
probabilities(model::Model) = ccall((:mpigd_model_probabilities, lib), Int64, (Ptr{Cvoid},), model)

kind(::Type{Float64}) = Cint(0)
kind(::Type{Float32}) = Cint(1)

# The symbol of a ccall has to be a constant, and so each function stands for itself.
for (name, symbol, width) in (
    (:eta, :mpigd_eta, :outputs),
    (:predict, :mpigd_predict, :answers),
    (:predict_proba, :mpigd_predict_proba, :probabilities),
)
    @eval function $name(model::Model, x::Matrix{T}) where {T<:Number64or32}
        size(x, 1) == columns(model) || throw(DimensionMismatch("x has to have the model's columns as rows"))
        found = Matrix{Float64}(undef, $width(model), size(x, 2))
        checked(error -> ccall(($(QuoteNode(symbol)), lib), Cint,
            (Ptr{Cvoid}, Cint, Int64, Ptr{T}, Ptr{Float64}, Ptr{UInt8}),
            model, kind(T), size(x, 2), x, found, error))
        return found
    end
end

end
