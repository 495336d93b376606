# Predict the rows of a table: julia predict.jl MODEL.h5 TABLE.csv
include(joinpath(@__DIR__, "..", "Mpigd.jl"))
using .Mpigd
using DelimitedFiles

model = Model(ARGS[1])
table, _ = readdlm(ARGS[2], ',', Float64; header=true)
x = Matrix(transpose(table[:, 1:Mpigd.columns(model)])) # a row of the table is a column of x
foreach(println, predict(model, x))
