module throughline.test/tool

go 1.26.0
