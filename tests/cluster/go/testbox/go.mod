module localcluster/testbox

go 1.24.0
