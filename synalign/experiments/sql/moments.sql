-- Each metric in each arm, over its users: what is counted (y), and what that is divided by (x).
select arm, metric, count(*) as users, avg(y) as mean, var_samp(y) as variance, avg(x) as base_mean,
    var_samp(x) as base_variance, covar_samp(y, x) as covariance
from log_metrics
group by arm, metric
order by arm, metric
