order by id desc
limit $1
